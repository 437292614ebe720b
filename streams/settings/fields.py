"""Every setting: its name, its default, its unit and its meaning."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DEFAULT_PORTS = {"publish": 9100, "seal": 9101, "attach": 9102, "a": 9103, "b": 9104}

ENV_PREFIX = "EVENSTREAM_"

PRINCIPALS = ("seal", "attach", "a", "b", "publish", "retention", "governance", "operator", "company")
"""Who speaks to Kafka: the five roles, and those who run commands (docs/operations.md, Principals and ACLs)."""

PROTOCOL_PROPERTIES = frozenset(
    (
        "acks",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "isolation.level",
        "partitioner",
        "transactional.id",
    )
)
"""librdkafka properties on which exactness rests: no pass-through may change them (DESIGN section 2.4)."""

FILE_PROPERTIES = frozenset(
    (
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.password",
        "sasl.username",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    )
)
"""librdkafka properties that may come from files: credentials. Of others its errors say the value, which may be one."""


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Group):
    """How to reach the cluster."""

    bootstrap: str = Field(
        "127.0.0.1:9092", min_length=1, description="host:port of one or more brokers, comma-separated"
    )
    properties: dict[str, str] = Field(
        default_factory=dict,
        description="any librdkafka property, for every client; security (security.protocol, sasl.*, ssl.*) comes so",
    )
    property_files: dict[str, Path] = Field(
        default_factory=dict,
        description="librdkafka property, such as sasl.password, to the path of a file that holds its value; read each "
        "time a client is made",
    )
    consumer_properties: dict[str, str] = Field(
        default_factory=dict, description="librdkafka properties for consumers, over those for every client"
    )
    producer_properties: dict[str, str] = Field(
        default_factory=dict, description="librdkafka properties for producers, over those for every client"
    )
    admin_properties: dict[str, str] = Field(
        default_factory=dict, description="librdkafka properties for administration, over those for every client"
    )
    request_timeout_seconds: float = Field(15.0, gt=0, description="seconds until an administrative request gives up")

    @field_validator("properties", "consumer_properties", "producer_properties", "admin_properties")
    @classmethod
    def _leaves_the_protocol_alone(cls, properties: dict[str, str]) -> dict[str, str]:
        taken = sorted(PROTOCOL_PROPERTIES & properties.keys())
        if taken:
            raise ValueError(
                f"{', '.join(taken)} cannot be passed through: the pipeline's exactness rests on evenstream's own value"
                + (" (set kafka.bootstrap)" if "bootstrap.servers" in taken else "")
            )
        return properties

    @field_validator("property_files")
    @classmethod
    def _are_credentials(cls, files: dict[str, Path]) -> dict[str, Path]:
        others = sorted(files.keys() - FILE_PROPERTIES)
        if others:
            raise ValueError(
                f"{', '.join(others)} cannot come from a file, which is for {', '.join(sorted(FILE_PROPERTIES))}: set "
                "kafka.properties"
            )
        return files

    @model_validator(mode="after")
    def _have_one_value(self) -> Self:
        twice = sorted(self.properties.keys() & self.property_files.keys())
        if twice:
            raise ValueError(f"{', '.join(twice)}: named in properties and in property_files; name each in one of them")
        return self


class TopicSettings(Group):
    """How evenstream's own topics are made."""

    partitions: int = Field(4, ge=1, le=1024, description="P: partitions of sealed, shares and member-attributes")
    replication_factor: int = Field(3, ge=1, description="copies of each partition; 1 only on a developer's machine")
    min_insync_replicas: int = Field(2, ge=1, description="copies that must have a record before it is acknowledged")
    member_attributes: str | None = Field(
        None, description="name of the company's attribute topic; default DEPLOYMENT.member-attributes"
    )
    sources: tuple[str, ...] = Field(
        (), description="names of the company's source topics, for ACLs; default DEPLOYMENT.rec-events"
    )
    retention_hours: float = Field(168.0, gt=0, description="hours that sealed and shares are kept: the longest outage")
    metrics_retention_hours: float = Field(8760.0, gt=0, description="hours that fairness-metrics are kept")
    concerns_retention_hours: float = Field(8760.0, gt=0, description="hours that concerns are kept")
    segment_minutes: float = Field(
        10.0, gt=0, description="minutes after which a segment of sealed, shares and the state topics is rolled"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas ({self.min_insync_replicas}) may not pass replication_factor "
                f"({self.replication_factor}): nothing could ever be written"
            )
        return self


class PrincipalSettings(Group):
    """Under which names Kafka knows the roles and those who run commands."""

    pattern: str = Field(
        "User:{deployment}-{role}",
        pattern=r"^User:[^\r\n\"']*\{role\}[^\r\n\"']*$",
        description="Kafka principal of each role; {deployment} and {role} are filled in",
    )
    names: dict[str, str] = Field(
        default_factory=dict,
        description=f"Kafka principals that do not follow the pattern, by role ({', '.join(PRINCIPALS)})",
    )

    @field_validator("names")
    @classmethod
    def _known_and_whole(cls, names: dict[str, str]) -> dict[str, str]:
        for role, name in names.items():
            if role not in PRINCIPALS:
                raise ValueError(f"there is no principal {role!r}; there are {', '.join(PRINCIPALS)}")
            if not re.fullmatch(r"User:[^\r\n\"']+", name):
                raise ValueError(f"{role} is {name!r}, expected User:NAME, as Kafka writes principals")
        return names


class KeySettings(Group):
    """Where keys lie."""

    dir: Path = Field(Path("keys"), description="folder with one subfolder a role, as `evenstream keys init` makes it")
    epoch_dir: Path | None = Field(
        None,
        description="folder for the private keys of epochs, on memory-backed storage; default: the role's own folder",
    )
    epoch_lifetime_hours: float = Field(24.0, gt=0, description="hours that senders may use one epoch key")
    state_dir: Path | None = Field(
        None, description="folder for the keys of roles' state topics; default: beside the private keys of epochs"
    )
    state_lifetime_hours: float | None = Field(
        None, gt=0, description="hours after which state is written anew under a new key; default: as an epoch key's"
    )
    governance_threshold: int = Field(
        2, ge=1, le=64, description="how many different governance keys must have signed a measurement"
    )


class RetentionSettings(Group):
    """What is deleted, and when it must not open any more."""

    interval_seconds: float = Field(
        60.0, gt=0, description="seconds between deletions of what every reader of sealed and shares has read"
    )
    allowance_hours: float = Field(
        1.0, ge=0, description="hours of lag that `retention check` grants over 1.5 lifetimes of a key"
    )


class PrivacySettings(Group):
    """The registry's budget."""

    rho_member_day_limit: float = Field(
        0.6, gt=0, description="zCDP rho that all measurements together may spend on one member-day (replacement)"
    )
    rho_30_days_limit: float = Field(
        1.0, gt=0, description="zCDP rho that all measurements together may spend on one member in any 30 days"
    )
    rho_year_limit: float = Field(
        2.0, gt=0, description="zCDP rho that all measurements together may spend on one member in any 365 days"
    )


class _Sharded(Group):
    """A role that may run as several workers; `evenstream scale` says how many have a part of the partitions."""

    shard: int = Field(
        0, ge=0, lt=1024, description="this worker's number, from 0; `evenstream scale` says how many work"
    )


class SealSettings(_Sharded):
    """The role `seal`."""

    batch_rows: int = Field(4096, ge=1, le=4096, description="most rows of a batch")
    commit_interval_seconds: float = Field(1.0, gt=0, le=60, description="seconds between commits without punctuation")
    few_rows_wait_seconds: float = Field(
        15.0,
        ge=0,
        le=60,
        description="seconds that rows may wait for their window's end while they are fewer than 64 a batch in the "
        "mean, where the broker dates events (LogAppendTime); no window comes later for it, rows reach attach later; "
        "0: no longer than commit_interval_seconds",
    )
    max_event_bytes: int = Field(1_000_000, ge=1_000, description="bytes; a larger event is refused unread")
    idle_check_ms: int = Field(
        100,
        ge=10,
        description="milliseconds between questions whether an idle partition is idle, while a window waits for it",
    )
    idle_margin_ms: int = Field(
        50,
        ge=0,
        le=150,
        description="milliseconds that an idle partition stays behind the clock (brokers' clocks differ)",
    )


class AttachSettings(_Sharded):
    """The role `attach`."""

    commit_interval_seconds: float = Field(1.0, gt=0, le=60, description="seconds between commits without punctuation")
    model: str = Field(
        "estimator:RaceModel.load",
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$",
        description="module:attribute, a callable without arguments that returns the group model",
    )
    misplaced_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="largest share of members with a record in a wrong partition with which attach starts and goes on",
    )


class AggregateSettings(Group):
    """The two parties."""

    commit_interval_seconds: float = Field(
        1.0, gt=0, le=60, description="seconds between commits without a window's end"
    )


class PublishSettings(Group):
    """The role `publish`."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of the published intervals")
    page: bool = Field(
        True, description="serve the live page, with its form for concerns, where publish serves /metrics"
    )
    page_windows: int = Field(
        240, ge=1, le=10_000, description="windows of each level that the live page keeps and draws"
    )
    page_streams: int = Field(
        256,
        ge=0,
        le=10_000,
        description="open pages that are kept up to date at once; the oldest waits some seconds for one more; 0: none",
    )
    runbook_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s\"'<>]+/$",
        max_length=500,
        description="address, with a slash at its end, under which the runbooks are published; default: pages name "
        "the file",
    )
    concerns_per_hour: float = Field(
        60.0, gt=0, description="concerns that the form takes an hour, from all people together, over time"
    )
    concerns_burst: int = Field(10, ge=1, description="concerns that the form takes at once, after a quiet time")


class HttpSettings(Group):
    """Each role's /metrics, /healthz and /readyz."""

    host: str = Field("127.0.0.1", description="address to listen on")
    hosts: tuple[Annotated[str, Field(pattern=r"^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])$")], ...] = Field(
        (),
        description="names, without a port, by which a server that listens on a loopback address may be asked beside "
        "localhost: as Host of a proxy in front; other names are answered 421",
    )
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port; 0 takes a free one; default 9100 publish, 9101 seal, 9102 attach, 9103 a, 9104 b, "
        "and 10 more for each shard",
    )
    certificate_file: Path | None = Field(
        None,
        description="PEM file with the server's certificate and its chain: every path is then served over TLS; read "
        "again when it has changed",
    )
    key_file: Path | None = Field(None, description="PEM file with the certificate's private key, not encrypted")
    client_ca_file: Path | None = Field(
        None,
        description="PEM file of the authority whose client certificates open /metrics and /pipeline; needs TLS",
    )
    token_file: Path | None = Field(
        None,
        description="file with a token that opens /metrics and /pipeline (Authorization: Bearer); read again "
        "when it has changed",
    )
    hang_seconds: float = Field(
        60.0,
        gt=0,
        description="seconds without a turn of its main loop after which a role calls itself hung; Kafka's time-outs "
        "are up to 45",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together: name both, or neither")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs TLS: name certificate_file and key_file as well")
        return self


class LoggingSettings(Group):
    """Log lines, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level that is shown")
    format: Literal["text", "json"] = Field("text", description="text for people, json for machines")


class Settings(BaseModel):
    """All settings of one deployment."""

    # Files, environment and ``--set`` are merged by :func:`load_settings`: a model is all that is needed, and
    # pydantic-settings would take a sixth of each role's start.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    deployment: str = Field(
        "evenstream", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="prefix of topics, groups and transactional ids"
    )
    test_cluster: bool = Field(False, description="allow measurements marked test_only, whose noise protects nobody")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    principals: PrincipalSettings = PrincipalSettings()
    keys: KeySettings = KeySettings()
    retention: RetentionSettings = RetentionSettings()
    privacy: PrivacySettings = PrivacySettings()
    seal: SealSettings = SealSettings()
    attach: AttachSettings = AttachSettings()
    aggregate: AggregateSettings = AggregateSettings()
    publish: PublishSettings = PublishSettings()
    http: HttpSettings = HttpSettings()
    logging: LoggingSettings = LoggingSettings()

    def topic(self, name: str) -> str:
        """The full name of one of evenstream's topics."""
        if name == "member-attributes" and self.topics.member_attributes is not None:
            return self.topics.member_attributes
        return f"{self.deployment}.{name}"

    def sources(self) -> tuple[str, ...]:
        """The company's source topics, as far as the settings name them."""
        return self.topics.sources or (self.topic("rec-events"),)

    def principal(self, role: str) -> str:
        """The Kafka principal of one of ``PRINCIPALS``."""
        pattern = self.principals.pattern.replace("{deployment}", self.deployment).replace("{role}", role)
        return self.principals.names.get(role, pattern)

    def group(self, role: str) -> str:
        """A role's consumer group."""
        return f"{self.deployment}.{role}"

    def transactional_id(self, role: str, shard: int, generation: int = 0) -> str:
        """A shard's transactional id, in one generation of its role's layout."""
        return f"{self.deployment}.{role}.{generation}.{shard}"

    def shard(self, role: str) -> int:
        """The number of this worker of a role; 0 where the role has only one."""
        return {"seal": self.seal.shard, "attach": self.attach.shard}.get(role, 0)

    def port(self, role: str) -> int:
        """The port on which this worker's metrics are served."""
        return DEFAULT_PORTS[role] + 10 * self.shard(role) if self.http.port is None else self.http.port

    def epoch_folder(self, role: str) -> Path:
        """Where the private keys of a role's epochs lie."""
        return (self.keys.epoch_dir or self.keys.dir) / role / "epochs"

    def state_folder(self, role: str) -> Path:
        """Where the keys of a role's state lie."""
        return (self.keys.state_dir or self.keys.epoch_dir or self.keys.dir) / role / "state"

    def layout_file(self, role: str) -> Path:
        """Where a role's workers keep the layout that they have begun last, for all of them."""
        return self.state_folder(role) / "layout"

    def faust_folder(self) -> Path:
        """What Faust makes for tables, of which there are none; one name a deployment, so that kills leave one only."""
        return Path(tempfile.gettempdir()) / f"evenstream-{self.group('publish')}"

    @property
    def epoch_lifetime_ms(self) -> int:
        """How long senders may use one epoch key, milliseconds."""
        return int(self.keys.epoch_lifetime_hours * 3_600_000)

    @property
    def state_lifetime_ms(self) -> int:
        """How long a state key seals, milliseconds."""
        return int((self.keys.state_lifetime_hours or self.keys.epoch_lifetime_hours) * 3_600_000)
