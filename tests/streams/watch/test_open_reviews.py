"""How many reviews are open, and until when, at /metrics."""

from __future__ import annotations

from pathlib import Path

from alarmed import ALARM_MS, result, signed
from prometheus_client import CollectorRegistry, generate_latest

from privacy import parse_measurement
from privacy.dispositions import Disposition, SignedDisposition
from streams.control import Approved
from streams.watch.open_reviews import OpenReviews

GOLDEN = Path(__file__).parent / "golden" / "review_metrics.txt"
WITHIN_MS = 7 * 86_400_000
TEXT = """
id: {id}
purpose: x
source: {{topic: t, member: m, time: ts}}
cells: {{score: {{field: s, bins: [0.5]}}, decision: {{field: r}}, outcome: {{field: o}}}}
windows: {{base: 10s}}
reference: white
privacy: {{contribution_cap: 2, rho_member_day: 0.1}}
"""


class Watched:
    """The gauges of two measurements, one of which can be revoked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reviews = OpenReviews(self.registry)
        self.words: dict[str, list[SignedDisposition]] = {}
        self.version = 1

    def show(self, *, revoked: bool = False) -> None:
        """As the control topics have it."""
        self.version += revoked
        approved = [
            Approved(parse_measurement(TEXT.format(id=name), origin="x"), spec, b"", 0, 1 << 60, 0, stopped)
            for name, spec, stopped in (("feed", bytes(range(32)), 1 if revoked else None), ("other", b"o" * 32, None))
        ]
        self.reviews.show(self.words, approved, self.version)

    def decide(self, decision: str, group: str = "black") -> None:
        """One more word of a reviewer."""
        alarm = f"feed/10s/tpr/all/{group}/{ALARM_MS}"
        said = Disposition(alarm, "unknown", decision, "look")
        self.words.setdefault(alarm, []).append(SignedDisposition(said, 0, ALARM_MS, "ab" * 8))

    def open(self, measurement: str = "feed") -> float | None:
        """Of a measurement."""
        return self.registry.get_sample_value("evenstream_reviews_open", {"measurement": measurement})

    def deadline(self, measurement: str = "feed") -> float | None:
        """Of a measurement."""
        name = "evenstream_review_deadline_timestamp_seconds"
        return self.registry.get_sample_value(name, {"measurement": measurement})


def test_golden_names_and_labels() -> None:
    """Two gauges by measurement, as the golden file says."""
    watched = Watched()
    watched.reviews.read(signed(result()))
    watched.show()
    lines = [
        f"{family.type} {name} {{{labels}}}\n"
        for family in watched.registry.collect()
        for name, labels in sorted({(s.name, ",".join(s.labels)) for s in family.samples})
    ]
    assert "".join(lines) == GOLDEN.read_text()


def test_nothing_before_everything_was_read() -> None:
    """No number, not 0, until somebody says that it is one; then 0 where no alarm began, and no deadline."""
    watched = Watched()
    watched.reviews.read(signed(result()))
    assert generate_latest(watched.registry) == b""
    assert watched.reviews.reviews is None
    watched.show()
    assert (watched.open(), watched.open("other")) == (1, 0)
    assert watched.deadline("other") is None


def test_only_what_reviewers_leave_open_counts() -> None:
    """The deadline is the earliest of the open ones; a decision closes, a revocation takes the series away."""
    watched = Watched()
    later = ALARM_MS + 10_000
    watched.reviews.read(signed(result(), result("api")))
    watched.reviews.read(signed(result("hispanic", later), end_ms=later))
    watched.show()
    assert (watched.open(), watched.deadline()) == (3, (ALARM_MS + WITHIN_MS) / 1000)
    watched.decide("investigate")
    watched.show()
    assert watched.open() == 3
    watched.decide("watch")
    watched.decide("change", "api")
    watched.show()
    assert (watched.open(), watched.deadline()) == (1, (later + WITHIN_MS) / 1000)
    watched.show(revoked=True)
    assert watched.open() is None
    assert watched.deadline() is None
    assert watched.open("other") == 0
