"""The health metrics that every role shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from streams.watch.health import ROLES, RoleHealth

GOLDEN = Path(__file__).parent / "golden" / "health_metrics.txt"


def exercised(role: str) -> CollectorRegistry:
    """The registry of a role that has used every method."""
    registry = CollectorRegistry()
    health = RoleHealth(role, registry, revision="abc123")
    health.rows(4096)
    health.batch()
    health.transaction("committed", 0.02)
    health.transaction("aborted", 0.0)
    health.refused("malformed")
    health.control_held_back("evenstream.keys", 12.5)
    health.lag("evenstream.sealed", 3, 17)
    health.oldest_unread("evenstream.sealed", 3, 1800.0, 7200.0)
    health.oldest_unread("company.events", 3, 1800.0, None)
    health.skipped("evenstream.sealed", 2)
    health.progress("evenstream.sealed", 3, 1_764_000_000.5)
    health.watermark("evenstream.sealed", 3, 1_764_000_000.0)
    health.window("feed", "10s", "released")
    health.ledger({"member-day": 0.5, "30-days": 0.25, "year": 0.125}, 1_765_000_000.0, 3)
    health.state_lost(1_764_028_800)
    health.layout(2, 3, 1)
    health.oldest_key("state", 1_764_000_000.0)
    health.key_lifetime("state", 86_400.0)
    health.clock_ahead(-1.5)
    return registry


def outline(registry: CollectorRegistry) -> list[str]:
    """Kind, name and labels of every sample."""
    return sorted(
        {
            f"{family.type} {sample.name} {{{','.join(name for name in sample.labels if name != 'le')}}}"
            for family in registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }
    )


def test_golden_names_and_labels() -> None:
    """Names, kinds and labels, role by role, are those of the golden file."""
    text = "".join(f"# {role}\n" + "".join(f"{line}\n" for line in outline(exercised(role))) for role in ROLES)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("role", ROLES)
def test_values(role: str) -> None:
    """What a role reports is what is shown, under its own name."""
    registry = exercised(role)
    place = {"role": role, "topic": "evenstream.sealed", "partition": "3"}
    assert registry.get_sample_value("evenstream_batches_total", {"role": role}) == 1
    assert registry.get_sample_value("evenstream_transactions_total", {"role": role, "result": "aborted"}) == 1
    assert registry.get_sample_value("evenstream_transaction_duration_seconds_count", {"role": role}) == 1
    assert registry.get_sample_value("evenstream_records_refused_total", {"role": role, "reason": "malformed"}) == 1
    held_back = {"role": role, "topic": "evenstream.keys"}
    assert registry.get_sample_value("evenstream_control_held_back_seconds", held_back) == 12.5
    assert registry.get_sample_value("evenstream_partition_lag_records", place) == 17
    assert registry.get_sample_value("evenstream_partition_lag_seconds", place) == 1800
    assert registry.get_sample_value("evenstream_retention_used_ratio", place) == 0.25
    assert registry.get_sample_value("evenstream_retention_used_ratio", place | {"topic": "company.events"}) is None
    skipped = {"role": role, "topic": "evenstream.sealed"}
    skips = role in ("attach", "a", "b")
    assert registry.get_sample_value("evenstream_batches_skipped_total", skipped) == (2 if skips else None)
    assert registry.get_sample_value("evenstream_partition_progress_timestamp_seconds", place) == 1_764_000_000.5
    assert registry.get_sample_value("evenstream_watermark_timestamp_seconds", place) == 1_764_000_000
    lost = registry.get_sample_value("evenstream_state_lost_until_timestamp_seconds", {"role": role})
    assert lost == (1_764_028_800 if role == "attach" else None)
    ahead = registry.get_sample_value("evenstream_clock_ahead_seconds", {"role": role})
    assert ahead == (-1.5 if role in ("seal", "attach") else None)


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_shows_its_layout(role: str) -> None:
    """Roles that can be several workers show generation, shards and their own number; the others have no layout."""
    registry, divided = exercised(role), role in ("seal", "attach")
    for name, value in (("generation", 2), ("shards", 3), ("shard", 1)):
        found = registry.get_sample_value(f"evenstream_layout_{name}", {"role": role})
        assert found == (value if divided else None)


def test_a_new_layout_ends_what_was_said_of_partitions() -> None:
    """Lag and progress of a partition that went to another worker would stand still for ever, and raise an alert."""
    registry = CollectorRegistry()
    health = RoleHealth("attach", registry)
    health.layout(1, 1, 0)
    health.lag("evenstream.sealed", 3, 17)
    health.layout(1, 1, 0)
    place = {"role": "attach", "topic": "evenstream.sealed", "partition": "3"}
    assert registry.get_sample_value("evenstream_partition_lag_records", place) == 17
    health.layout(2, 2, 0)
    assert registry.get_sample_value("evenstream_partition_lag_records", place) is None


@pytest.mark.parametrize("role", ROLES)
def test_rows_are_shown_by_seal_alone(role: str) -> None:
    """Past `seal` no count of rows exists: set against another role's, it would tell who did not count."""
    rows = exercised(role).get_sample_value("evenstream_rows_total", {"role": role})
    assert rows == (4096 if role == "seal" else None)


@pytest.mark.parametrize("role", ROLES)
def test_no_metric_tells_who_did_not_count(role: str) -> None:
    """No name and no label speaks of members, opt-outs, caps or matches."""
    text = "\n".join(outline(exercised(role)))
    for word in ("member", "opted", "capped", "over_cap", "unknown", "unmatched", "trace"):
        assert word not in text


def test_watched_counters_begin_at_0() -> None:
    """A partition's first sight and a role's start make the counters that alerts watch, before anything happens."""
    registry = CollectorRegistry()
    health = RoleHealth("attach", registry)
    for result in ("committed", "aborted"):
        assert registry.get_sample_value("evenstream_transactions_total", {"role": "attach", "result": result}) == 0
    gaps = {"role": "attach", "topic": "evenstream.sealed"}
    health.progress("evenstream.sealed", 0, 1.0)
    assert registry.get_sample_value("evenstream_sequence_gaps_total", gaps) == 0
    health.stop("evenstream.sealed", 0, 42, "sequence 7 came where 6 was expected")
    assert registry.get_sample_value("evenstream_sequence_gaps_total", gaps) == 1


@pytest.mark.parametrize("role", ROLES)
def test_a_party_shows_how_its_budget_stands(role: str) -> None:
    """The parties, and no one else, show what is spent of each period, when it ends, and how many debits there are."""
    registry = exercised(role)
    party = role in ("a", "b")
    for period, ratio in (("member-day", 0.5), ("30-days", 0.25), ("year", 0.125)):
        labels = {"role": role, "period": period}
        assert registry.get_sample_value("evenstream_ledger_spent_ratio", labels) == (ratio if party else None)
    assert registry.get_sample_value("evenstream_ledger_debits_total", {"role": role}) == (3 if party else None)
    end = registry.get_sample_value("evenstream_ledger_exhaustion_timestamp_seconds", {"role": role})
    assert end == (1_765_000_000 if party else None)


def test_no_end_in_sight_is_no_series() -> None:
    """Where nothing will be refused there is no time of exhaustion, not even the last one; debits never count down."""
    registry = CollectorRegistry()
    health = RoleHealth("a", registry)
    assert registry.get_sample_value("evenstream_ledger_debits_total", {"role": "a"}) == 0
    for end, debits in ((1.0, 5), (None, 4), (None, 5)):
        health.ledger({"year": 0.5}, end, debits)
        found = registry.get_sample_value("evenstream_ledger_exhaustion_timestamp_seconds", {"role": "a"})
        assert found == end
        assert registry.get_sample_value("evenstream_ledger_debits_total", {"role": "a"}) == 5


def test_aborted_transactions_have_no_duration() -> None:
    """The duration is that of commits: aborts, counted as 0, would make it look better than it is."""
    registry = CollectorRegistry()
    RoleHealth("a", registry).transaction("aborted", 0.0)
    assert registry.get_sample_value("evenstream_transaction_duration_seconds_count", {"role": "a"}) in (None, 0)


def test_build_info_names_the_revision() -> None:
    """An alert on a role's absence, and a question about its age, find role, version and revision."""
    samples = [
        sample
        for family in exercised("seal").collect()
        if family.name == "evenstream_build_info"
        for sample in family.samples
    ]
    assert [(sample.labels["role"], sample.labels["revision"], sample.value) for sample in samples] == [
        ("seal", "abc123", 1.0)
    ]
    assert samples[0].labels["version"]


def test_unknown_roles_are_refused() -> None:
    """A misspelt role would fire the alert on the right one's absence for ever."""
    with pytest.raises(ValueError, match="expected a role out of"):
        RoleHealth("aggregate-a", CollectorRegistry())


def test_progress_is_shown_again_after_a_new_layout() -> None:
    """A new generation takes progress of partitions away, and what is taken in from then on is shown."""
    registry = CollectorRegistry()
    health = RoleHealth("attach", registry)
    place = {"role": "attach", "topic": "evenstream.sealed", "partition": "3"}
    for generation, at_seconds in ((1, 1_764_000_000.0), (2, 1_764_000_009.0)):
        health.layout(generation, 2, 0)
        assert registry.get_sample_value("evenstream_partition_progress_timestamp_seconds", place) is None
        health.progress("evenstream.sealed", 3, at_seconds)
        assert registry.get_sample_value("evenstream_partition_progress_timestamp_seconds", place) == at_seconds
