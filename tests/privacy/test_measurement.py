"""The measurement's spec: what it derives, what is signed, and how it speaks of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import Measurement, MeasurementError, next_boundary_ms, parse_measurement
from privacy.spec_problems import EXPECTED

GOLDEN = Path(__file__).parent / "golden"
BOUNDARY_MS = 1_764_000_000_000

FULL = """
id: feed
revision: 3
purpose: Do members of every group see equally good recommendations?
source:
  topic: rec-events
  arrival: record_time
  explode: candidates
  member: candidates[].member_id
  member_max_bytes: 40
  time: shown_at
  time_format: epoch_ms
  filter:
    - {field: surface, one_of: [feed, search, no, 3, true]}
cells:
  score: {field: 'candidates[].score', bins: [0.2, 0.4, 0.6, 0.8]}
  decision: {field: recommended}
  outcome: {field: clicked}
  rank: {field: 'candidates[].rank', bins: [2, 6, 11]}
windows: {base: 10s, rollups: [1m, 1h], lateness: 250ms, max_future: 2s}
reference: white
privacy:
  contribution_cap: 2
  rho_member_day: 0.1
  level_shares: {10s: 0.5, 1m: 0.3, 1h: 0.2}
  channel_shares: {table: 1.0}
  delta: 1e-9
effective_from: 2026-11-24T00:00:00Z
expires: 2027-11-24T00:00:00Z
"""

SMALL = """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}, outcome: {field: o}}
windows: {base: 10s, rollups: [1m]}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
"""


def small(old: str = "", new: str = "") -> Measurement:
    """The small spec with one piece of its text replaced."""
    assert old in SMALL
    return parse_measurement(SMALL.replace(old, new) if old else SMALL, origin="spec.yaml")


def refusal(text: str) -> str:
    """The message with which a spec is refused."""
    with pytest.raises(MeasurementError) as caught:
        parse_measurement(text, origin="spec.yaml")
    return str(caught.value)


def test_a_full_spec_gives_its_cells_levels_and_times() -> None:
    """Axes come in the fixed order, levels base first, durations and moments in milliseconds."""
    spec = parse_measurement(FULL, origin="spec.yaml")
    assert spec.cell_axes == (("score", 5), ("decision", 2), ("outcome", 2), ("rank", 4))
    assert spec.cell_count == 80
    levels = [(level.name, level.length_ms) for level in spec.levels]
    assert levels == [("10s", 10_000), ("1m", 60_000), ("1h", 3_600_000)]
    assert (spec.base_ms, spec.lateness_ms, spec.max_future_ms) == (10_000, 250, 2_000)
    assert spec.effective_from_ms == 1_795_478_400_000
    assert spec.level_shares == {"10s": 0.5, "1m": 0.3, "1h": 0.2}
    assert spec.privacy.delta == 1e-9
    assert spec.source.filter[0].one_of == ("feed", "search", "no", 3, True)


def test_defaults_are_the_documented_ones() -> None:
    """What a short spec leaves out takes the values that the documentation promises."""
    spec = small()
    assert (spec.revision, spec.source.arrival, spec.source.member_max_bytes) == (1, "live", 36)
    assert (spec.privacy.cap_rule, spec.privacy.delta) == ("hours", 1e-9)
    assert spec.level_shares == {"10s": 0.5, "1m": 0.5}
    assert (spec.lateness_ms, spec.max_future_ms, spec.effective_from_ms, spec.expires_ms) == (1000, 1000, None, None)


def test_canonical_bytes_are_pinned() -> None:
    """The signed form of a spec never changes by accident: old signatures must stay valid."""
    expected = (GOLDEN / "spec.canonical.json").read_bytes()
    assert parse_measurement(FULL, origin="spec.yaml").canonical_bytes() == expected


def test_canonical_bytes_round_trip_and_name_the_spec() -> None:
    """The signed bytes read back to the same spec with the same digest."""
    for spec in (parse_measurement(FULL, origin="x"), small().with_effective_from(BOUNDARY_MS)):
        again = Measurement.from_canonical(spec.canonical_bytes())
        assert again == spec
        assert again.digest() == spec.digest()
        assert len(spec.digest()) == 32


def test_order_and_time_zone_of_the_text_do_not_change_the_signed_bytes() -> None:
    """One measurement has one canonical form, however it was written."""
    turned = "\n".join(reversed(SMALL.strip().splitlines()))
    assert parse_measurement(turned, origin="x").canonical_bytes() == small().canonical_bytes()
    here = parse_measurement(SMALL + "effective_from: 2026-11-24T15:00:00Z\n", origin="x")
    there = parse_measurement(SMALL + "effective_from: 2026-11-24T16:00:00+01:00\n", origin="x")
    assert here.canonical_bytes() == there.canonical_bytes()


@pytest.mark.parametrize("change", [b" ", b'{"id":"feed"}', b"{", b"\xff", b"[]", b"1"])
def test_what_is_not_canonical_is_refused(change: bytes) -> None:
    """Signed bytes that are not exactly the canonical form of a spec are an error of this room."""
    data = small().canonical_bytes()
    with pytest.raises(MeasurementError):
        Measurement.from_canonical(data + change if change == b" " else change)


def test_what_is_new_leaves_old_signed_bytes_alone() -> None:
    """Bytes signed before there were groups and more channels read back, and mean one table of the six groups."""
    spec = Measurement.from_canonical((GOLDEN / "spec.canonical.json").read_bytes())
    assert spec.channels == ("table",)
    assert spec.group_names == ("white", "black", "api", "hispanic", "native", "multiple")
    assert spec.cells.rank is not None and spec.cells.rank.first == 1
    assert [spec.channel_shares(level.name) for level in spec.levels] == [{"table": 1.0}] * 3


def test_groups_channels_and_the_first_rank_are_part_of_what_is_signed() -> None:
    """A measurement's own groups, its channels and where ranks begin are in the signed bytes, and come back."""
    text = SMALL.replace("reference: white", "reference: men\ngroups: [women, men, other_2]").replace(
        "{decision: {field: r},", "{decision: {field: r}, rank: {field: k, bins: [2], starts_at: 0},"
    )
    spec = Measurement.from_canonical(parse_measurement(text, origin="x").canonical_bytes())
    assert spec.group_names == ("women", "men", "other_2")
    assert spec.cells.rank is not None and spec.cells.rank.first == 0
    assert b'"channel_shares":{"moments":0.2,"table":0.8}' in spec.canonical_bytes()
    assert b'"groups":["women","men","other_2"]' in spec.canonical_bytes()
    assert b'"groups":' not in small().canonical_bytes()


def test_what_is_tolerated_is_part_of_what_is_signed() -> None:
    """A spec without it keeps its bytes and means the defaults; one with it reads back, metric by metric."""
    assert b"detection" not in small().canonical_bytes()
    assert (small().alarms.tolerated("tpr"), small().alarms.false_alarm_windows(60_000)) == (0.02, 43_200)
    assert small().alarms.review_within_ms == 604_800_000
    text = SMALL + "detection: {tolerated_gap: 0, tolerated_gaps: {tpr: 0.05}, false_alarm_every: 95s}\n"
    spec = Measurement.from_canonical(
        parse_measurement(text.replace("1m", "4s").replace("10s", "2s"), origin="x").canonical_bytes()
    )
    assert (spec.alarms.tolerated("fpr"), spec.alarms.tolerated("tpr")) == (0, 0.05)
    assert [spec.alarms.false_alarm_windows(level.length_ms) for level in spec.levels] == [48, 24]
    assert spec.digest() != small().digest()


def test_the_rectifier_is_released_at_the_longest_level_and_no_rho_is_lost() -> None:
    """At shorter levels its part goes to table and moments in proportion; each level's parts sum to 1."""
    spec = small(
        "rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {moments: 0.1, rectifier: 0.4, table: 0.5}"
    )
    assert spec.channels == ("table", "rectifier", "moments")
    assert spec.channel_shares("1m") == pytest.approx({"table": 0.5, "rectifier": 0.4, "moments": 0.1})
    assert list(spec.channel_shares("1m")) == ["table", "rectifier", "moments"]
    assert spec.channel_shares("10s") == pytest.approx({"table": 5 / 6, "moments": 1 / 6})
    only = small("{base: 10s, rollups: [1m]}", "{base: 10s}").privacy
    assert only.channel_shares == {"table": 0.8, "moments": 0.2}


def test_with_effective_from_needs_a_boundary() -> None:
    """A start inside a window of the longest level is refused in the room's own words."""
    assert small().with_effective_from(BOUNDARY_MS).effective_from_ms == BOUNDARY_MS
    with pytest.raises(MeasurementError, match=r"effective_from: must be a boundary of the longest level, 1m"):
        small().with_effective_from(BOUNDARY_MS + 10_000)


@given(now=st.integers(0, 4_000_000_000_000))
def test_the_next_boundary_is_the_first_one_after_now(now: int) -> None:
    """Signing at a boundary still leaves the roles a whole window to hear of it."""
    boundary = next_boundary_ms(small(), now)
    assert boundary % 60_000 == 0
    assert now < boundary <= now + 60_000


def test_messages_for_wrong_fields_are_pinned() -> None:
    """Each problem is one line with field, expectation and what came; all problems come at once."""
    message = refusal((GOLDEN / "wrong_fields.yaml").read_text())
    assert message + "\n" == (GOLDEN / "wrong_fields.txt").read_text()
    for jargon in ("Input should", "pydantic", "value_error", "string_type", "validation error"):
        assert jargon not in message


EDGES = list(range(300))
RULES: list[tuple[str, str, str]] = [
    ("cells: {decision: {field: r}, outcome: {field: o}}", "cells: {rank: {field: k, bins: [2]}}",
     "cells: name a decision or an outcome (or both); there is nothing to compare otherwise"),
    ("cells: {decision: {field: r}, outcome: {field: o}}",
     f"cells: {{decision: {{field: r}}, score: {{field: s, bins: {EDGES}}}, rank: {{field: k, bins: {EDGES}}}}}",
     "cells: 181202 cells are too many, at most 65535; use fewer bins"),
    ("cells: {decision: {field: r}, outcome: {field: o}}",
     f"groups: [{', '.join(f'g{k}' for k in range(16))}, white]\ncells: {{decision: {{field: r}}, "
     f"score: {{field: s, bins: {EDGES}}}, rank: {{field: k, bins: {EDGES[:60]}}}}}".replace(", g15", ""),
     "cells: 36722 cells of 16 groups have 587552 values (with a rectifier twice as many), at most 393210; use fewer "
     "bins"),
    ("base: 10s", "base: 7s",
     "windows.base: 7s does not divide the UTC day. A member's budget is per day, so no window may straddle two days; "
     "use for example 10s, 1m, 1h or 1d\n"
     "spec.yaml: windows.rollups[0]: 1m is not a multiple of 7s, the level before it"),
    ("[1m]", "[1m, 90s]", "windows.rollups[1]: 90s is not a multiple of 1m, the level before it"),
    ("[1m]", "[10s]", "windows.rollups[0]: 10s is not a multiple of 10s, the level before it"),
    ("member: m,", "member: 'c[].m',",
     "source.member: 'c[].m' speaks of the elements of 'c'; set source.explode to c, or name a field of the "
     "record itself"),
    ("{field: o}", "{field: 'c[].o'}",
     "cells.outcome.field: 'c[].o' speaks of the elements of 'c'; set source.explode to c, or name a field of the "
     "record itself"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, level_shares: {10s: 1}",
     "privacy.level_shares: names 10s; name 10s, 1m, each once"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, level_shares: {10s: 0.5, 1m: 0.6}",
     "privacy.level_shares: the shares must sum to 1, they sum to 1.1"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, level_shares: {10s: 1, 1m: 0}",
     "privacy.level_shares: each share must be above 0; leave a level out of windows instead"),
    ("rho_member_day: 0.1", "rho_member_day: 1e-10",
     "privacy.rho_member_day: leaves a channel of a level less than rho 1e-09, all noise; raise it"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {moments: 1}",
     "privacy.channel_shares: names moments; name table, and optionally moments and rectifier"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {}",
     "privacy.channel_shares: names no channel; name table, and optionally moments and rectifier"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: 0.5, momnets: 0.5}",
     "privacy.channel_shares: names table, momnets; name table, and optionally moments and rectifier"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: 1, moments: 0}",
     "privacy.channel_shares: each share must be above 0; leave a channel out instead"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: 0.5, moments: 0.4}",
     "privacy.channel_shares: the shares must sum to 1, they sum to 0.9"),
    ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: 0.5, rectifier: 0.5}",
     "privacy.channel_shares: rectifier needs moments, which say how many rows have a Self-ID; give moments a share as "
     "well"),
    ("reference: white", "reference: martian",
     "reference: 'martian' is none of the measurement's groups; name one of white, black, api, hispanic, native, "
     "multiple"),
    ("reference: white", "reference: white\ngroups: [women, men]",
     "reference: 'white' is none of the measurement's groups; name one of women, men"),
    ("{base: 10s, rollups: [1m]}", "{base: 2h}",
     "privacy.cap_rule: hours needs base windows of at most 1h, not 2h, since attach knows a row's hour by its window; "
     "write cap_rule: first"),
    ("reference: white", "reference: white\neffective_from: 2026-11-24T15:00:07Z",
     "effective_from: must be a boundary of the longest level, 1m; the next one is 2026-11-24T15:01:00Z"),
    ("reference: white", "reference: white\nrevision: 2\neffective_from: 2026-11-24T15:00:00Z",
     "effective_from: a later revision takes over at a UTC day, so that no member-day is counted under two; use for "
     "example 2026-11-25T00:00:00Z"),
    ("time: ts", "time: m.at",
     "source.member: 'm' is a value here, and 'm.at' a field inside it; it can be one of them"),
    ("windows: {", "windows: {lateness: 25h, ",
     "windows.lateness: 25h is more than a day, which no budget of days can follow; use at most 1d"),
    ("reference: white", "reference: white\neffective_from: 2026-11-24T15:00:00Z\nexpires: 2026-11-24T14:00:00Z",
     "expires: must come after effective_from"),
    ("reference: white", "reference: white\ndetection: {tolerated_gaps: {tpr: 0.1, click_rate: 0.1}}",
     "detection.tolerated_gaps.click_rate: is no metric of this measurement's cells; name one of predictive_parity, "
     "precision, tpr, fpr, recommendation_rate"),
    ("reference: white", "reference: white\ndetection: {false_alarm_every: 19m, review_within: 30s}",
     "detection.false_alarm_every: 19m is less than 20 windows of the longest level, 1m; alarms so often false would "
     "not be believed: use a longer one\n"
     "spec.yaml: detection.review_within: 30s is not within 1m and 90d; a week is usual: 7d"),
    ("reference: white", "reference: white\ndetection: {false_alarm_every: 3651d}",
     "detection.false_alarm_every: 3651d is more than ten years; use at most 3650d"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), RULES)
def test_rules_between_fields_say_which_field_and_what_to_do(old: str, new: str, expected: str) -> None:
    """Each rule that binds several fields has its own line, under the field to mend."""
    assert old in SMALL
    assert refusal(SMALL.replace(old, new)) == f"spec.yaml: {expected}"


MAPPING = "expected a mapping with id, purpose, source, cells, windows, reference and privacy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"{MAPPING}, got nothing; see examples/"),
        ("- a", f"{MAPPING}, got a list; see examples/"),
        ("a: {b: c[].d}", "but got '['; within braces a path with [] needs quotes: 'list[].field'"),
        ("a: [", "line 1, column 5: expected the node content, but found '<stream end>'"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' is written twice; keep one of them"),
        ("a: &x 1\nb: *x", "line 2, column 4: anchors (&, *) are not allowed in a spec; write the value out"),
        ("[" * 5000, "nested deeper than 32"),
        ("x" * 200_000, "a spec has at most 131072 bytes, this one has 200000; shorten it"),
        ("a: !!python/object:os.system {}", "could not determine a constructor for the tag"),
    ],
)  # fmt: skip
def test_text_that_is_no_spec_is_refused_in_one_line(text: str, expected: str) -> None:
    """Broken, hostile or ambiguous YAML gives one line with the place, never a traceback."""
    message = refusal(text)
    assert message.startswith("spec.yaml: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("contribution_cap: 2", "contribution_cap: true", "privacy.contribution_cap"),
        ("contribution_cap: 2", "contribution_cap: 2, contribution_cap: 24", "line 8"),
        ("rho_member_day: 0.1", "rho_member_day: true", "privacy.rho_member_day"),
        ("rho_member_day: 0.1", "rho_member_day: .nan", "privacy.rho_member_day"),
        ("rho_member_day: 0.1", "rho_member_day: .inf", "privacy.rho_member_day"),
        ("rho_member_day: 0.1", "rho_member_day: 0.1, level_shares: {10s: .nan, 1m: 0.5}", "privacy.level_shares"),
        ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: .nan}", "channel_shares"),
        ("rho_member_day: 0.1", "rho_member_day: 0.1, channel_shares: {table: true}", "channel_shares"),
        ("reference: white", "reference: women\ngroups: [women]", "groups"),
        ("reference: white", "reference: women\ngroups: [women, women]", "groups"),
        ("reference: white", "reference: women\ngroups: [women, Men]", "groups[1]"),
        ("reference: white", "reference: women\ngroups: [women, a+b]", "groups[1]"),
        ("reference: white", f"reference: g0\ngroups: [{', '.join(f'g{k}' for k in range(17))}]", "groups"),
        ("{decision: {field: r},", "{decision: {field: r}, rank: {field: k, bins: [2], starts_at: 2},", "starts_at"),
        ("{decision: {field: r},", "{decision: {field: r}, rank: {field: k, bins: [2], starts_at: true},", "starts_at"),
        ("{decision: {field: r},", "{decision: {field: r}, score: {field: k, bins: [2], starts_at: 1},", "starts_at"),
        ("rho_member_day: 0.1", "rho_member_day: 0.1, delta: 0", "privacy.delta"),
        ("reference: white", "reference: white\ntest_only: {noise_scale_units: -1}", "test_only.noise_scale_units"),
        ("reference: white", "reference: white\neffective_from: 1764000000", "effective_from"),
        ("reference: white", "reference: white\neffective_from: 2026-11-24", "effective_from"),
        ("reference: white", "reference: white\neffective_from: 2026-11-24T15:00:00.0005Z", "effective_from"),
        ("base: 10s", 'base: "10s\\n"', "windows.base"),
        ("base: 10s", "base: 0s", "windows.base"),
        ("reference: white", "reference: white\ndetection: {tolerated_gap: -0.0001}", "detection.tolerated_gap"),
        ("reference: white", "reference: white\ndetection: {tolerated_gap: .nan}", "detection.tolerated_gap"),
        ("reference: white", "reference: white\ndetection: {tolerated_gaps: {tpr: 0.5}}", "tolerated_gaps.tpr"),
    ],
)
def test_values_that_would_change_the_promise_in_silence_are_refused(old: str, new: str, field: str) -> None:
    """NaN, booleans as numbers, a key written twice, bare numbers as times: none is guessed at."""
    assert old in SMALL
    assert field in refusal(SMALL.replace(old, new))


def test_every_field_says_what_it_takes() -> None:
    """No field of a spec can be wrong without an expectation in words, and no expectation outlives its field."""
    found: set[str] = set()

    def walk(schema: dict[str, Any], defs: dict[str, Any], path: str) -> None:
        options = [schema, *schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
        for option in options:
            target = defs[option["$ref"].rpartition("/")[2]] if "$ref" in option else option
            for name, field in target.get("properties", {}).items():
                found.add(f"{path}.{name}".lstrip("."))
                walk(field, defs, f"{path}.{name}".lstrip("."))

    schema = Measurement.model_json_schema()
    walk(schema, schema["$defs"], "")
    assert found == set(EXPECTED)


@pytest.mark.parametrize(
    ("base", "rollup", "most"),
    [("10s", "1m", 1), ("15m", "45m", 2), ("20m", "160m", 4), ("1h", "1d", 24), ("5m", "1h", 1)],
)
def test_a_window_holds_as_many_rows_of_a_member_as_hours_begin_in_it(base: str, rollup: str, most: int) -> None:
    """Under the rule hours a row counts in the hour in which its base window starts: counted out, window by window."""
    spec = parse_measurement(
        f"""{{id: x, purpose: p, source: {{topic: t, member: m, time: s}}, cells: {{decision: {{field: d}}}},
        windows: {{base: {base}, rollups: [{rollup}]}}, reference: white,
        privacy: {{contribution_cap: 24, rho_member_day: 0.1}}}}""",
        origin="x",
    )
    base_ms, length = (level.length_ms for level in spec.levels)
    day, hour = 86_400_000, 3_600_000
    counted = max(
        len({start // hour for start in range(window, window + length, base_ms)}) for window in range(0, day, length)
    )
    assert spec.rows_per_member(rollup) == counted == most
    assert spec.rows_per_member(base) == 1


def test_a_changed_copy_forgets_what_was_worked_out() -> None:
    """What follows from a part's fields is kept, and follows a copy's own fields: channels, levels, cells."""
    spec = parse_measurement(FULL, origin="test")
    terms, windows, cells = spec.privacy, spec.windows, spec.cells
    assert (terms.channels, len(windows.levels), cells.count) == (terms.channels, len(windows.levels), cells.count)
    wider = terms.model_copy(update={"channel_shares": {"table": 0.5, "rectifier": 0.25, "moments": 0.25}})
    assert wider.channels == ("table", "rectifier", "moments")
    longer = windows.model_copy(update={"rollups": (*windows.rollups, "1d")})
    assert len(longer.levels) == len(windows.levels) + 1
    assert cells.model_copy(update={"outcome": None}).count == cells.count // 2
