"""Everything that an operator can turn, with its default, its unit and its meaning.

Sources, strongest first: ``--set name=value``; environment variables (``EVENSTREAM_KAFKA__BOOTSTRAP``, then
``KAFKA_BOOTSTRAP``, the one name that other tools share); a YAML file (``--config`` or ``EVENSTREAM_CONFIG``); the
defaults below. An unknown name is an error, wherever it comes from: a misspelt setting that is silently ignored is how
systems fail.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams.errors import SettingsError

DEFAULT_PORTS = {"publish": 9100, "seal": 9101, "attach": 9102, "a": 9103, "b": 9104}

_ENV_PREFIX = "EVENSTREAM_"


_OTHER_NAMES = frozenset(("EVENSTREAM_CONFIG", "EVENSTREAM_CACHE", "EVENSTREAM_SUPERVISOR"))
"""Variables with our prefix that are not settings."""

_SERVICE_LINK = re.compile(r"[A-Z0-9_]+_(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)")
"""What Kubernetes puts into every pod for a Service named evenstream-...; EVENSTREAM_HTTP__PORT has two underscores."""

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


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars stay text (or null): pydantic knows what each should be, and a password 0123 is not 83."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way to say it
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Group):
    """How to reach the cluster."""

    bootstrap: str = Field(
        "127.0.0.1:9092", min_length=1, description="host:port of one or more brokers, comma-separated"
    )
    properties: dict[str, str] = Field(
        default_factory=dict,
        description="any librdkafka property, for every client; security (security.protocol, sasl.*, ssl.*) comes so",
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


class TopicSettings(_Group):
    """How evenstream's own topics are made."""

    partitions: int = Field(4, ge=1, le=1024, description="P: partitions of sealed, shares and member-attributes")
    replication_factor: int = Field(3, ge=1, description="copies of each partition; 1 only on a developer's machine")
    min_insync_replicas: int = Field(2, ge=1, description="copies that must have a record before it is acknowledged")
    member_attributes: str | None = Field(
        None, description="name of the company's attribute topic; default DEPLOYMENT.member-attributes"
    )
    retention_hours: float = Field(168.0, gt=0, description="hours that sealed and shares are kept: the longest outage")
    metrics_retention_hours: float = Field(8760.0, gt=0, description="hours that fairness-metrics are kept")
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


class KeySettings(_Group):
    """Where keys lie."""

    dir: Path = Field(Path("keys"), description="folder with one subfolder a role, as `evenstream keys init` makes it")
    epoch_dir: Path | None = Field(
        None,
        description="folder for the private keys of epochs, on memory-backed storage; default: the role's own folder",
    )
    epoch_lifetime_hours: float = Field(24.0, gt=0, description="hours that senders may use one epoch key")
    governance_threshold: int = Field(1, ge=1, description="how many governance keys must have signed a measurement")


class PrivacySettings(_Group):
    """The registry's budget."""

    rho_member_day_limit: float = Field(
        0.6, gt=0, description="zCDP rho that all measurements together may spend on one member-day (replacement)"
    )


class _Sharded(_Group):
    """A role that may run as several workers, each with a fixed part of the partitions."""

    shard: int = Field(0, ge=0, description="this worker's number, 0 to shards-1")
    shards: int = Field(1, ge=1, description="how many workers share the partitions")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.shard >= self.shards:
            raise ValueError(f"shard is {self.shard}, expected 0 to {self.shards - 1}, since shards is {self.shards}")
        return self


class SealSettings(_Sharded):
    """The role `seal`."""

    batch_rows: int = Field(4096, ge=1, le=4096, description="rows at which a batch goes out before its time")
    commit_interval_seconds: float = Field(1.0, gt=0, le=60, description="seconds between commits without punctuation")
    max_event_bytes: int = Field(1_000_000, ge=1_000, description="bytes; a larger event is refused unread")
    idle_check_ms: int = Field(
        100, ge=10, description="milliseconds between questions whether an idle partition is idle"
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


class AggregateSettings(_Group):
    """The two parties."""

    commit_interval_seconds: float = Field(
        1.0, gt=0, le=60, description="seconds between commits without a window's end"
    )


class PublishSettings(_Group):
    """The role `publish`."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="level of the published intervals")


class HttpSettings(_Group):
    """Each role's /metrics, /healthz and /readyz."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port; 0 takes a free one; default 9100 publish, 9101 seal, 9102 attach, 9103 a, 9104 b",
    )


class LoggingSettings(_Group):
    """Log lines, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level that is shown")
    format: Literal["text", "json"] = Field("text", description="text for people, json for machines")


class Settings(BaseSettings):
    """All settings of one deployment."""

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    deployment: str = Field(
        "evenstream", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="prefix of topics, groups and transactional ids"
    )
    test_cluster: bool = Field(False, description="allow measurements marked test_only, whose noise protects nobody")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    keys: KeySettings = KeySettings()
    privacy: PrivacySettings = PrivacySettings()
    seal: SealSettings = SealSettings()
    attach: AttachSettings = AttachSettings()
    aggregate: AggregateSettings = AggregateSettings()
    publish: PublishSettings = PublishSettings()
    http: HttpSettings = HttpSettings()
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files and ``--set`` are merged by :func:`load_settings`, which also puts the environment between them."""
        return (init_settings,)

    def topic(self, name: str) -> str:
        """The full name of one of evenstream's topics."""
        if name == "member-attributes" and self.topics.member_attributes is not None:
            return self.topics.member_attributes
        return f"{self.deployment}.{name}"

    def group(self, role: str) -> str:
        """A role's consumer group."""
        return f"{self.deployment}.{role}"

    def transactional_id(self, role: str, shard: int) -> str:
        """A shard's transactional id."""
        return f"{self.deployment}.{role}.{shard}"

    def port(self, role: str) -> int:
        """The port on which a role's metrics are served."""
        return DEFAULT_PORTS[role] if self.http.port is None else self.http.port

    def epoch_folder(self, role: str) -> Path:
        """Where the private keys of a role's epochs lie."""
        return (self.keys.epoch_dir or self.keys.dir) / role / "epochs"


def load_settings(
    config: Path | None = None,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read all sources.

    Args:
        config: a YAML file; default: the one that ``EVENSTREAM_CONFIG`` names, if any.
        overrides: ``name=value`` or ``group.name=value``; the value is read as YAML.
        environment: default ``os.environ``.

    Raises:
        SettingsError: one line for each problem, naming the setting, what was expected and what came.
    """
    environment = os.environ if environment is None else environment
    if config is None and environment.get("EVENSTREAM_CONFIG"):
        config = Path(environment["EVENSTREAM_CONFIG"])
    merged: dict[str, Any] = _read_file(config) if config is not None else {}
    if environment.get("KAFKA_BOOTSTRAP"):
        _put(merged, ["kafka", "bootstrap"], environment["KAFKA_BOOTSTRAP"], "KAFKA_BOOTSTRAP")
    for name, value in sorted(environment.items()):
        if name.startswith(_ENV_PREFIX) and name not in _OTHER_NAMES and not _is_service_link(name):
            path = _environment_path(name)
            _put(merged, path, _read_value(path, value, name), name)
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            raise SettingsError(f"--set {override}: expected name=value, for example --set topics.partitions=8")
        path = _path(name.strip())
        _put(merged, path, _read_value(path, value, f"--set {name}"), f"--set {name}")
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return _ENV_PREFIX + name.upper().replace(".", "__")


def _is_service_link(name: str) -> bool:
    rest = name.removeprefix(_ENV_PREFIX)
    return "__" not in rest and _SERVICE_LINK.fullmatch(rest) is not None


def _environment_path(name: str) -> list[str]:
    """``EVENSTREAM_KAFKA__PROPERTIES__SASL_PASSWORD`` is sasl.password: names in a shell hold no dots."""
    parts = name.removeprefix(_ENV_PREFIX).lower().split("__")
    if len(parts) > 2 and _is_properties(parts):
        return [*parts[:2], "_".join(parts[2:]).replace("_", ".")]
    return parts


def _path(name: str) -> list[str]:
    """Split ``kafka.properties.security.protocol``: what follows a table of properties is one name with dots."""
    parts = name.split(".")
    if len(parts) > 2 and _is_properties(parts):
        return [*parts[:2], ".".join(parts[2:])]
    return parts


def _is_properties(path: Sequence[Any]) -> bool:
    return len(path) > 1 and path[0] == "kafka" and str(path[1]).endswith("properties")


def _takes_text(path: Sequence[str]) -> bool:
    """Whether the setting is text, which is taken as it stands."""
    if _is_properties(path):
        return len(path) > 2
    fields = Settings.model_fields
    for part in path[:-1]:
        group = fields[part].annotation if part in fields else None
        if not (isinstance(group, type) and issubclass(group, BaseModel)):
            return False
        fields = group.model_fields
    annotation = fields[path[-1]].annotation if path[-1] in fields else None
    kinds = get_args(annotation) or (annotation,)
    return get_origin(annotation) is Literal or str in kinds or Path in kinds


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(), _TextLoader)  # noqa: S506  # it is a SafeLoader
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {path} must hold a mapping of settings, not {type(content).__name__}")
    return content


def _read_value(path: Sequence[str], text: str, name: str) -> Any:
    if _takes_text(path):
        return text
    try:
        return yaml.load(text, _TextLoader)  # noqa: S506  # it is a SafeLoader
    except yaml.YAMLError:
        raise SettingsError(f"{name}: {text!r} is not a YAML value; quote it") from None


def _put(merged: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    node = merged
    for part in path[:-1]:
        if node.get(part) is None:  # also a group that the file names and leaves empty
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise SettingsError(f"{name}: {part!r} is a single setting, not a group")
    node[path[-1]] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}: there is no such setting; `evenstream settings` lists them all")
        elif problem["type"] == "value_error":  # our own words, which say what came
            lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}")
        elif _is_properties(problem["loc"]):  # it may be a password
            lines.append(f"{name}: {problem['msg']}")
        else:
            lines.append(f"{name}: {problem['msg']}; got {problem['input']!r}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Setting:
    """One line of the reference."""

    name: str
    default: str
    environment: str
    meaning: str


def reference() -> Iterator[Setting]:
    """Every setting, in the order of this file."""
    yield from _reference(Settings.model_fields, "")


def _reference(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[Setting]:
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, _Group):
            yield from _reference(type(default).model_fields, f"{prefix}{name}.")
        else:
            path = f"{prefix}{name}"
            shown = "" if default is None or default == {} else str(default)
            yield Setting(path, shown, environment_name(path), field.description or "")
