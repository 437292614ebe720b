"""How far back a party reads its own releases at its start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy import Debit, parse_measurement
from streams.control import FOREVER_MS, Approved
from streams.records.punctuation import NEVER_MS
from streams.roles.releasing import not_finished, read_back_to_ms

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
START_MS = 20_000 * DAY_MS
FEED, JOBS, OTHER = (bytes([n]) * 32 for n in (1, 2, 3))
SPEC = parse_measurement(
    """
id: feed
purpose: Are all groups recommended equally often?
source: {topic: rec-events, member: m, time: ts}
cells: {decision: {field: r}}
windows: {base: 10s}
reference: white
privacy: {contribution_cap: 2, rho_member_day: 0.1}
""",
    origin="spec.yaml",
)


def debit(spec: bytes, day: int, at_ms: int) -> Debit:
    """A debit of a day of October 2024."""
    return Debit(0, "", "a", f"2024-10-{day:02}", spec.hex()[:4], 1, spec.hex(), 0.1, 30, 365, at_ms)


APPROVED = Approved(SPEC, FEED, bytes(32), START_MS, START_MS + DAY_MS, 0)


@pytest.mark.parametrize(
    ("approved", "closed_through_ms", "now_ms", "expected"),
    [
        (APPROVED, NEVER_MS, START_MS, True),
        (APPROVED, START_MS + DAY_MS - 1, START_MS + 9 * DAY_MS, True),
        (APPROVED, START_MS + DAY_MS, START_MS + 9 * DAY_MS, False),
        (APPROVED, NEVER_MS, START_MS - DAY_MS, True),  # the log's clock may be a day ahead
        (APPROVED, NEVER_MS, START_MS - DAY_MS - 1, False),
        (replace(APPROVED, until_ms=FOREVER_MS), START_MS + 8 * DAY_MS, START_MS + 9 * DAY_MS, True),
        (replace(APPROVED, revoked_at_ms=START_MS), NEVER_MS, START_MS + HOUR_MS, False),
    ],
)
def test_which_revisions_are_not_finished(
    approved: Approved, closed_through_ms: int, now_ms: int, expected: bool
) -> None:
    """Those that have begun, stand, and have windows before their end that the state does not have as closed."""
    assert not_finished(approved, closed_through_ms, now_ms) == expected


LEDGER = [
    debit(JOBS, 1, 10 * HOUR_MS),
    debit(FEED, 1, 20 * HOUR_MS),
    debit(FEED, 2, 40 * HOUR_MS),
    debit(FEED, 3, 60 * HOUR_MS),
]


@pytest.mark.parametrize(
    ("unfinished", "known", "entries", "hours"),
    [
        ([], [], [], 0),
        ([FEED], [FEED], [], 0),
        ([FEED], [FEED, JOBS], LEDGER, 59),  # an hour before its newest debit
        ([FEED], [FEED, JOBS], LEDGER[:-1], 39),  # a ledger that was cut only makes it read more
        ([FEED, JOBS], [FEED, JOBS], LEDGER, 9),
        ([FEED, OTHER], [FEED, JOBS, OTHER], LEDGER, 0),  # what was never paid for: all of it
        ([], [FEED, JOBS], LEDGER, 59),  # nothing goes on, but the ledger may have been cut
        ([FEED], [FEED], LEDGER, 9),  # paid for, and not in the registry
    ],
)
def test_how_far_back_a_party_reads(
    unfinished: list[bytes], known: list[bytes], entries: list[Debit], hours: int
) -> None:
    """From the newest debit of each that needs it, which lies before all that was sent on its day."""
    assert read_back_to_ms(unfinished, known, entries) == hours * HOUR_MS
