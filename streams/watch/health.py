"""Pipeline health, the same small set in every role.

Exact counts of rows that were opted out, over the cap or unknown are never shown: they re-link members. Rows are
counted at `seal` only, which already knows them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.records.layout import SHARDED_ROLES

log = logging.getLogger(__name__)

ROLES = ("seal", "attach", "a", "b", "publish")

_TRANSACTION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _version() -> str:
    try:
        return version("evenstream")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


class RoleHealth:
    """One role's health metrics.

    Args:
        role: "seal", "attach", "a", "b" or "publish".
        registry: where they are registered.
        revision: the source revision that was built, where that is known.

    Raises:
        ValueError: there is no such role: an alert on its absence would never clear.
    """

    def __init__(self, role: str, registry: CollectorRegistry, *, revision: str = "unknown") -> None:
        if role not in ROLES:
            raise ValueError(f"expected a role out of {', '.join(ROLES)}, got {role!r}")
        self._role = role
        build = Gauge(
            "evenstream_build_info", "Version of this role", ("role", "version", "revision"), registry=registry
        )
        build.labels(role, _version(), revision).set(1)
        batches = Counter("evenstream_batches", "Batches written or folded", ("role",), registry=registry)
        self._batches = batches.labels(role)
        self._transactions = Counter(
            "evenstream_transactions", "Kafka transactions by result", ("role", "result"), registry=registry
        )
        # Counters that alerts watch begin at 0: Prometheus sees no increase in one that is born as 1.
        for result in ("committed", "aborted"):
            self._transactions.labels(role, result)
        self._duration = Histogram(
            "evenstream_transaction_duration_seconds",
            "Time from begin to commit of a transaction",
            ("role",),
            buckets=_TRANSACTION_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "evenstream_records_refused",
            "Records refused, by reason (at seal: one an event, measurement and reason)",
            ("role", "reason"),
            registry=registry,
        )
        self._gaps = Counter(
            "evenstream_sequence_gaps",
            "Partitions stopped by a break of the protocol",
            ("role", "topic"),
            registry=registry,
        )
        self._skipped: Counter | None = None
        if role in ("attach", "a", "b"):
            self._skipped = Counter(
                "evenstream_batches_skipped",
                "Batches left out since an operator gave them up",
                ("role", "topic"),
                registry=registry,
            )
        self._held_back = Gauge(
            "evenstream_control_held_back_seconds",
            "For how long an open transaction has hidden what is behind it on a control topic",
            ("role", "topic"),
            registry=registry,
        )
        self._read = set[str]()
        labels = ("role", "topic", "partition")
        self._lag = Gauge("evenstream_partition_lag_records", "Records not yet read", labels, registry=registry)
        self._unread = Gauge(
            "evenstream_partition_lag_seconds", "Age of the oldest record not yet read", labels, registry=registry
        )
        self._retention = Gauge(
            "evenstream_retention_used_ratio",
            "Age of the oldest record not yet read, over how long its topic keeps records",
            labels,
            registry=registry,
        )
        self._progress = Gauge(
            "evenstream_partition_progress_timestamp_seconds",
            "When a record was last taken in",
            labels,
            registry=registry,
        )
        # By topic and partition: to look a series up by its labels costs as much as a batch's own bookkeeping.
        self._progress_of: dict[tuple[str, int], Gauge] = {}
        self._watermark = Gauge(
            "evenstream_watermark_timestamp_seconds", "Arrival time that has been passed", labels, registry=registry
        )
        self._layout: dict[str, Gauge] = {}
        self._generation: int | None = None
        if role in SHARDED_ROLES:
            described = {
                "generation": ("evenstream_layout_generation", "Generation of the layout that this worker follows"),
                "shards": ("evenstream_layout_shards", "How many workers the layout has a part for"),
                "shard": ("evenstream_layout_shard", "This worker's number; it stands by where that is no shard"),
            }
            self._layout = {
                what: Gauge(name, text, ("role",), registry=registry) for what, (name, text) in described.items()
            }
        self._clock: Gauge | None = None
        if role in ("seal", "attach"):  # the others write to no topic that the broker stamps
            self._clock = Gauge(
                "evenstream_clock_ahead_seconds",
                "How far this machine's clock is ahead of the broker's",
                ("role",),
                registry=registry,
            )
        self._rows: Counter | None = None
        self._releases: Counter | None = None
        self._zero_until: Gauge | None = None
        if role == "attach":
            self._zero_until = Gauge(
                "evenstream_state_lost_until_timestamp_seconds",
                "Rows before this time count as zero, since the state that told who counted was lost; 0: never",
                ("role",),
                registry=registry,
            )
            self._zero_until.labels(role).set(0)
        self._oldest_key: Gauge | None = None
        self._key_lifetime: Gauge | None = None
        if role != "publish":
            self._oldest_key = Gauge(
                "evenstream_oldest_private_key_timestamp_seconds",
                "When the oldest private key that this role still holds began, by kind of key",
                ("role", "kind"),
                registry=registry,
            )
            self._key_lifetime = Gauge(
                "evenstream_private_key_lifetime_seconds",
                "For how long a private key is used, by kind of key",
                ("role", "kind"),
                registry=registry,
            )
        self._ledger: _LedgerHealth | None = None
        if role == "seal":
            self._rows = Counter("evenstream_rows", "Rows sealed", ("role",), registry=registry).labels(role)
        if role in ("a", "b"):
            self._releases = Counter(
                "evenstream_releases",
                "Windows closed by this party",
                ("role", "measurement", "level", "status"),
                registry=registry,
            )
            self._ledger = _LedgerHealth(role, registry)

    def rows(self, count: int) -> None:
        """Rows were taken in. Shown by `seal` only: elsewhere an exact count could be set against another role's."""
        if self._rows is not None:
            self._rows.inc(count)

    def batch(self) -> None:
        """A batch was written or folded."""
        self._batches.inc()

    def transaction(self, result: str, seconds: float) -> None:
        """A transaction ended: "committed" or "aborted"."""
        self._transactions.labels(self._role, result).inc()
        if result == "committed":
            self._duration.labels(self._role).observe(seconds)

    def refused(self, reason: str, count: int = 1) -> None:
        """Records were refused; none of a reason makes no series of it."""
        if count:
            self._refused.labels(self._role, reason).inc(count)

    def stop(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """A partition was stopped."""
        self._gaps.labels(self._role, topic).inc()
        log.error("%s [%d] is stopped at offset %d: %s", topic, partition, offset, reason)

    def skipped(self, topic: str, batches: int) -> None:
        """Batches were left out, which an operator has given up."""
        if self._skipped is not None:
            self._skipped.labels(self._role, topic).inc(batches)

    def control_held_back(self, topic: str, seconds: float) -> None:
        """For how long a control topic has held what this role does not get to see; 0 where all was read."""
        self._held_back.labels(self._role, topic).set(seconds)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """How many records are yet to be read, by partition: a stalled one hides in a sum."""
        self._born(topic)
        self._lag.labels(self._role, topic, str(partition)).set(records)

    def oldest_unread(self, topic: str, partition: int, age_seconds: float, retention_seconds: float | None) -> None:
        """How old the oldest unread record is, and how long its topic keeps records (None: for ever, or unknown)."""
        self._unread.labels(self._role, topic, str(partition)).set(age_seconds)
        if retention_seconds is not None:
            self._retention.labels(self._role, topic, str(partition)).set(age_seconds / retention_seconds)

    def reads_no_more(self, topic: str, partition: int) -> None:
        """A partition is no longer this worker's: what was last said of its oldest unread record is over."""
        for gauge in (self._unread, self._retention):
            with suppress(KeyError):
                gauge.remove(self._role, topic, str(partition))

    def progress(self, topic: str, partition: int, at_seconds: float) -> None:
        """A record was taken in at this time."""
        series = self._progress_of.get((topic, partition))
        if series is None:
            self._born(topic)
            series = self._progress_of[topic, partition] = self._progress.labels(self._role, topic, str(partition))
        series.set(at_seconds)

    def _born(self, topic: str) -> None:
        """Counters that alerts watch begin at 0, once their topic is read."""
        if topic in self._read:
            return
        self._read.add(topic)
        self._gaps.labels(self._role, topic)
        if self._skipped is not None:
            self._skipped.labels(self._role, topic)

    def watermark(self, topic: str, partition: int, at_seconds: float) -> None:
        """The arrival time that a partition has passed."""
        self._watermark.labels(self._role, topic, str(partition)).set(at_seconds)

    def layout(self, generation: int, shards: int, shard: int) -> None:
        """The layout that this worker follows. With a new generation, what was said of partitions is over."""
        if self._generation not in (None, generation):
            for gauge in (self._lag, self._progress, self._watermark):
                gauge.clear()
            self._progress_of.clear()
        self._generation = generation
        for what, value in (("generation", generation), ("shards", shards), ("shard", shard)):
            if what in self._layout:
                self._layout[what].labels(self._role).set(value)

    def clock_ahead(self, seconds: float) -> None:
        """How far this machine's clock is ahead of the broker's; negative where it is behind."""
        if self._clock is not None:
            self._clock.labels(self._role).set(seconds)

    def state_lost(self, until_seconds: int) -> None:
        """Rows of windows that begin before this time count as zero, in one partition at least."""
        if self._zero_until is not None:
            self._zero_until.labels(self._role).set(until_seconds)

    def oldest_key(self, kind: str, began_seconds: float | None) -> None:
        """When the oldest key of a kind ("epoch", "state") began that the role still holds; None: it holds none."""
        if self._oldest_key is None:
            return
        if began_seconds is None:
            with suppress(KeyError):
                self._oldest_key.remove(self._role, kind)
        else:
            self._oldest_key.labels(self._role, kind).set(began_seconds)

    def key_lifetime(self, kind: str, seconds: float) -> None:
        """For how long a key of a kind ("epoch", "state") is used, as this role is set."""
        if self._key_lifetime is not None:
            self._key_lifetime.labels(self._role, kind).set(seconds)

    def window(self, measurement: str, level: str, status: str) -> None:
        """A party closed a window."""
        if self._releases is not None:
            self._releases.labels(self._role, measurement, level, status).inc()

    def ledger(self, spent: Mapping[str, float], exhausted_at_seconds: float | None, debits: int) -> None:
        """How a party's budget stands.

        Args:
            spent: by period, "member-day", "30-days" and "year": rho over its limit.
            exhausted_at_seconds: Unix time from which on its limits will refuse debits, at the present rate; None where
                they will not.
            debits: how many the ledger holds.
        """
        if self._ledger is not None:
            self._ledger.show(spent, exhausted_at_seconds, debits)


class _LedgerHealth:
    """A party's budget. It follows from signed specs and the calendar alone, so no member can change it."""

    def __init__(self, role: str, registry: CollectorRegistry) -> None:
        self._role = role
        self._spent = Gauge(
            "evenstream_ledger_spent_ratio",
            "Budget spent of today, the last 30 days and the last 365, over its limit",
            ("role", "period"),
            registry=registry,
        )
        self._exhaustion = Gauge(
            "evenstream_ledger_exhaustion_timestamp_seconds",
            "When the budget will be used up at the present rate",
            ("role",),
            registry=registry,
        )
        self._debits = Counter("evenstream_ledger_debits", "Debits in the ledger", ("role",), registry=registry)
        self._debits.labels(role)
        self._shown = 0

    def show(self, spent: Mapping[str, float], exhausted_at_seconds: float | None, debits: int) -> None:
        for period, ratio in spent.items():
            self._spent.labels(self._role, period).set(ratio)
        if exhausted_at_seconds is not None:
            self._exhaustion.labels(self._role).set(exhausted_at_seconds)
        else:
            self._exhaustion.clear()  # no answer is no series, and never a last value
        # A rewind to committed state may take a debit back, which a counter cannot; it is made again.
        self._debits.labels(self._role).inc(max(debits - self._shown, 0))
        self._shown = max(debits, self._shown)
