"""The scenario on a secured broker, one principal a role, for tests whose subject is who may do what."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import scenario as scenarios
from confluent_kafka.admin import AclBinding

from streams import acl
from streams.feed import Feed
from streams.kafka import acls, topics
from streams.kafka.clients import read_to_end
from streams.kafka.dev_security import BrokerSecurity
from streams.records.metric import FairnessMetric
from streams.roles.seal import END_OF_LOG
from streams.trial import Trial

_SOURCE_CONFIG = {"message.timestamp.type": "CreateTime"}


@dataclass
class SecuredScenario:
    """A secured deployment with the scenario's measurements in force and its members known; no role runs yet."""

    trial: Trial
    scenario: scenarios.Scenario

    @classmethod
    def prepare(
        cls, folder: Path, bootstrap: str | None = None, security: BrokerSecurity | None = None
    ) -> SecuredScenario:
        """Make users, ACLs, topics and keys, and approve; on a broker of its own unless one is given."""
        limits = ["privacy.rho_member_day_limit=1", "privacy.rho_30_days_limit=100", "privacy.rho_year_limit=1000"]
        overrides = ["test_cluster=true", "keys.governance_threshold=1", "kafka.request_timeout_seconds=60", *limits]
        trial = Trial(folder, print, name="t", overrides=overrides, secure=True)
        trial.start_kafka(bootstrap, security)
        try:
            trial.prepare(())
            source = trial.settings.topic("rec-events")
            plan = topics.TopicPlan(source, scenarios.SOURCE_PARTITIONS, 1, _SOURCE_CONFIG)
            topics.create(trial.settings_of("operator"), (plan,))
            scenario = scenarios.build(source, 7)
            for measurement in scenario.measurements:
                trial.approve(measurement, scenario.end_ms)
            Feed(trial.settings).send_all(trial.settings.topic("member-attributes"), scenario.members)
        except BaseException:
            trial.stop()
            raise
        return cls(trial, scenario)

    def feed(self, part: int = 0, parts: int = 1) -> None:
        """Write one part of the events, and after the last one the end of the log."""
        settings, records = self.trial.settings, self.scenario.records
        source, feed = settings.topic("rec-events"), Feed(settings)
        for record in records[len(records) * part // parts : len(records) * (part + 1) // parts]:
            feed.send(source, record.key, record.value, timestamp_ms=record.timestamp_ms, partition=record.partition)
        end = [(END_OF_LOG, b"1")]
        for partition in range(scenarios.SOURCE_PARTITIONS) if part == parts - 1 else ():
            feed.send(source, None, None, timestamp_ms=self.scenario.end_ms, partition=partition, headers=end)
        feed.flush()

    def acls_of(self, role: str, operation: str, name: str) -> list[AclBinding]:
        """The ACL by which a role may do one thing with one resource, whose name is without the deployment."""
        wanted = self.trial.settings.topic(name)
        found = [
            binding
            for binding in acls.bindings(rule for rule in acl.rules(self.trial.settings) if rule.role == role)
            if binding.operation.name == operation and binding.name == wanted
        ]
        assert len(found) == 1, (role, operation, name)
        return found

    def take_away(self, *unwanted: tuple[str, str, str]) -> None:
        """Take ACLs away: role, operation, name of the resource."""
        acls.delete(self.trial.settings_of("admin"), [b for which in unwanted for b in self.acls_of(*which)])

    def give_back(self) -> None:
        """Put the whole table in force."""
        acls.create(self.trial.settings_of("admin"), acls.bindings(acl.rules(self.trial.settings)))

    def windows(self) -> dict[tuple[str, str, int], FairnessMetric]:
        """What the company finds on `fairness-metrics`."""
        settings = self.trial.settings
        found = {}
        for record in read_to_end(settings, settings.topic("fairness-metrics")):
            window = FairnessMetric.model_validate(json.loads(record.value() or b""))
            found[window.measurement, window.level, window.window.end_ms] = window
        return found

    def await_windows(self, seconds: float, count: int | None = None) -> dict[tuple[str, str, int], FairnessMetric]:
        """The same, when so many windows (by default all of the scenario) are there, or the time is over."""
        deadline = time.monotonic() + seconds
        wanted = len(self.scenario.tables) if count is None else count
        while len(found := self.windows()) < wanted and time.monotonic() < deadline:
            self.trial.watch()
            time.sleep(0.3)
        return found
