"""A party's ledger held against its releases: real records pass, and each way of tampering with them is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from known_records import with_section
from reviewed import REVIEWED

from privacy import Limits, Measurement, parse_measurement
from secure_agg import Identity
from streams.inprocess import InProcessPipeline
from streams.ledger_check import Findings, Records, check
from streams.records.debit import NO_DEBIT, SignedDebit
from streams.records.release import SignedRelease

DAY_MS = 86_400_000
START_MS = 20_000 * DAY_MS - 30_000
LIMITS = Limits.of_day(0.6)

SPEC = """
id: {id}
revision: 1
purpose: ledger
source: {{topic: ev, member: m, time: ts, time_format: epoch_ms}}
cells: {{decision: {{field: r}}}}
windows: {{base: 10s, rollups: [30s], lateness: 1s}}
reference: white
privacy: {{contribution_cap: 24, rho_member_day: {rho}, cap_rule: first{more}}}
"""


def spec(name: str, rho: float, more: str = "") -> Measurement:
    """A measurement that begins half a minute before a UTC day."""
    text = SPEC.format(id=name, rho=rho, more=more) + REVIEWED
    return parse_measurement(text, origin="test").with_effective_from(START_MS)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessPipeline]:
    """A pipeline that has measured two things, with real noise, over the end of a UTC day."""
    folder = tmp_path_factory.mktemp("ledger") / "keys"
    pipeline = InProcessPipeline(folder, partitions=1, sources={"ev": 1}, start_ms=START_MS, limits=LIMITS)
    pipeline.approve(spec("feed", 0.1))
    pipeline.approve(spec("jobs", 0.2, ", channel_shares: {table: 0.6, moments: 0.2, rectifier: 0.2}"))
    pipeline.write_attributes(b"m1", b'{"state": "MA"}')
    for _ in range(75):
        pipeline.log.clock_ms += 1000
        event = json.dumps({"m": "m1", "ts": pipeline.log.clock_ms - 10, "r": True}).encode()
        pipeline.log.append("ev", 0, event)
        pipeline.run()
    yield pipeline


def ledger_of(house: InProcessPipeline, party: str = "a") -> list[tuple[int, bytes]]:
    """Offsets and values of a party's ledger."""
    return list(enumerate(house.log.values(f"ledger-{party}")))


def releases_of(house: InProcessPipeline, party: str = "a") -> list[tuple[int, bytes]]:
    """Offsets and values of a party's releases."""
    return list(enumerate(house.log.values(f"releases-{party}")))


def judged(
    house: InProcessPipeline, ledger: Records, releases: Records, *, limits: Limits = LIMITS, party: str = "a"
) -> Findings:
    """What the check says, with what any role can know."""
    control = house.controls["publish"]
    return check(
        party,
        ledger=ledger,
        releases=releases,
        approved=control.approved(),
        trusted=control.trusted.identities,
        limits=limits,
    )


def told(findings: Findings) -> list[str]:
    """Its problems, one line each."""
    return [str(problem) for problem in findings.problems]


def identity(house: InProcessPipeline, party: str = "a") -> Identity:
    """A party's own identity: what it signs with is believed to be its word."""
    return house._keys[party].identity


def again(house: InProcessPipeline, value: bytes, **changes: Any) -> bytes:
    """A release with other contents, signed by its party: what a dishonest or broken one might say."""
    signed = SignedRelease.decode(value)
    release = msgspec.structs.replace(signed.release, **changes)
    values = None
    if release.status == "released":
        values = {channel.name: signed.channel(channel.name) for channel in signed.release.channels}
    return SignedRelease.signed(identity(house, release.party), release, values).encode()  # type: ignore[arg-type]


def debited_again(house: InProcessPipeline, records: Records, change: Callable[[int, dict[str, Any]], None]) -> Records:
    """The ledger rewritten by its own party: changed, and chained and signed anew."""
    rewritten, previous = [], "0" * 64
    for offset, value in records:
        content = json.loads(SignedDebit.decode(value).debit)
        content["previous"] = previous
        change(offset, content)
        debit = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        signed = SignedDebit.signed(identity(house), debit)
        previous = signed.digest.hex()
        rewritten.append((offset, signed.encode()))
    return rewritten


@pytest.mark.parametrize("party", ["a", "b"])
def test_a_sound_ledger_pays_for_its_releases(house: InProcessPipeline, party: str) -> None:
    """Real records of both parties pass: every release is paid for, and every debit has its releases."""
    findings = judged(house, ledger_of(house, party), releases_of(house, party), party=party)
    assert told(findings) == []
    assert [(e.debit.day, e.debit.measurement) for e in findings.entries] == [
        ("2024-10-03", "feed"), ("2024-10-03", "jobs"), ("2024-10-04", "feed"), ("2024-10-04", "jobs"),
    ]  # fmt: skip
    assert findings.windows == {"released": len(releases_of(house, party))}
    assert (findings.copies, findings.idle, findings.notes) == (0, [], [])


def test_copies_of_aborted_transactions_are_no_problem(house: InProcessPipeline) -> None:
    """The same bytes again, as an aborted transaction leaves them, are counted and nothing else."""
    releases = releases_of(house)
    findings = judged(house, ledger_of(house), [*releases, *releases[3:5], releases[0]])
    assert told(findings) == []
    assert findings.copies == 3


def test_a_removed_release_is_missed(house: InProcessPipeline) -> None:
    """Every scheduled window is released, so a gap is seen at the window that follows, wherever it was."""
    releases = releases_of(house)
    for place in (0, 5, len(releases) - 7):
        (problem,) = told(judged(house, ledger_of(house), releases[:place] + releases[place + 1 :]))
        assert "1 window(s) from 2024-10-0" in problem
        assert "are missing before it" in problem


def test_an_altered_release_is_not_its_partys(house: InProcessPipeline) -> None:
    """One bit of a noised value, or another party's signature, is told with its offset."""
    releases = releases_of(house)
    value = releases[4][1]
    values = bytearray(SignedRelease.decode(value).values)
    values[0] ^= 1
    theirs = releases_of(house, "b")[4][1]
    for forged, text in (
        (with_section(value, 1, bytes(values)), "was not signed by party a"),
        (theirs, "names party b"),
    ):
        first, *_ = told(judged(house, ledger_of(house), [*releases[:4], (4, forged), *releases[5:]]))
        assert first == f"releases-a offset 4: {text}"


def test_garbage_is_told_and_passed_over(house: InProcessPipeline) -> None:
    """What is no release at all stops nothing that follows it."""
    (problem,) = told(judged(house, ledger_of(house), [(0, b"garbage"), *releases_of(house)]))
    assert problem.startswith("releases-a offset 0: cannot be read")


def test_a_window_released_twice_is_told(house: InProcessPipeline) -> None:
    """A second noising of one window, under the party's own signature, is the worst that can happen: it is named."""
    releases = releases_of(house)
    signed = SignedRelease.decode(releases[2][1])
    values = {c.name: signed.channel(c.name) + np.uint64(1) for c in signed.release.channels}  # type: ignore[operator]
    second = SignedRelease.signed(identity(house), signed.release, values).encode()
    (problem,) = told(judged(house, ledger_of(house), [*releases, (99, second)]))
    assert problem.startswith("releases-a offset 99: ")
    assert problem.endswith("was released before, with other bytes")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"debit": bytes([7]) * 32}, "names debit 0707070707070707, which is not in the ledger"),
        ({"spec": bytes([7]) * 32}, "names spec 0707070707070707, which is not approved"),
        ({"revision": 2}, "is not what its spec measures"),
        ({"level": "1h"}, "is not what its spec measures"),
        ({"end_ms": START_MS + 5_000}, "is no window of its revision"),
        ({"start_ms": START_MS - 10_000, "end_ms": START_MS}, "is no window of its revision"),
    ],
)
def test_a_release_that_does_not_fit_is_told(house: InProcessPipeline, changes: dict[str, Any], text: str) -> None:
    """A release without its debit, of another spec, level or window than was signed, in its party's own name."""
    releases = releases_of(house)
    first, *_ = told(judged(house, ledger_of(house), [(0, again(house, releases[0][1], **changes)), *releases[1:]]))
    assert first.startswith("releases-a offset 0: ")
    assert text in first


def test_less_noise_than_was_signed_is_told(house: InProcessPipeline) -> None:
    """A party that states half the scale, or a smaller cost, contradicts the signed spec's calibration."""
    releases = releases_of(house)
    release = SignedRelease.decode(releases[0][1]).release
    for name in ("sigma_units", "rho"):
        halved = tuple(msgspec.structs.replace(c, **{name: getattr(c, name) / 2}) for c in release.channels)
        changed = [(0, again(house, releases[0][1], channels=halved)), *releases[1:]]
        (problem,) = told(judged(house, ledger_of(house), changed))
        assert "but its spec gives table" in problem


def test_a_debit_of_another_day_or_measurement_pays_for_nothing(house: InProcessPipeline) -> None:
    """A release may not lean on another debit, even one that is in the ledger."""
    releases, ledger = releases_of(house), ledger_of(house)
    for number in (1, 2, 3):
        other = SignedDebit.decode(ledger[number][1]).digest
        (problem,) = told(judged(house, ledger, [(0, again(house, releases[0][1], debit=other)), *releases[1:]]))
        assert "names a debit for " in problem


def test_removed_reordered_and_foreign_debits_are_told(house: InProcessPipeline) -> None:
    """The chain shows at the debit that follows; releases that the missing debit paid for are told one by one."""
    ledger, releases = ledger_of(house), releases_of(house)
    removed = told(judged(house, [ledger[0], *ledger[2:]], releases))
    assert removed[0] == (
        "ledger-a offset 2: does not follow from the debit before it: debits were removed, changed or reordered "
        "before it"
    )
    assert all("which is not in the ledger" in line for line in removed[1:])
    assert len(removed) > 3
    assert "is not the first debit" in told(judged(house, ledger[1:], releases))[0]
    swapped = told(judged(house, [ledger[0], ledger[2], ledger[1], ledger[3]], releases))
    assert [line.split(":")[0] for line in swapped] == [f"ledger-a offset {offset}" for offset in (2, 1, 3)]
    theirs = SignedDebit.signed(identity(house, "b"), SignedDebit.decode(ledger[1][1]).debit).encode()
    foreign = told(judged(house, [ledger[0], (1, theirs), *ledger[2:]], releases))
    assert foreign[0].startswith("ledger-a offset 1: is no debit that party a signed")


def test_a_cut_ledger_leaves_releases_unpaid(house: InProcessPipeline) -> None:
    """Cutting the end off a chain breaks no chain; the releases that name what is gone show it."""
    problems = told(judged(house, ledger_of(house)[:-1], releases_of(house)))
    assert problems
    assert all("which is not in the ledger" in line and "jobs/" in line for line in problems)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rho": 0.05}, "debits rho 0.05 where the signed spec says 0.1"),
        ({"rho": 0.5}, "passes a limit"),
        ({"days_in_30": 3}, "counts a member on 3 of 30 and 365 of 365 days, where the signed spec says 30 of 30"),
        ({"spec_sha256": "07" * 32}, "pays for spec 0707070707070707, which is not approved"),
        ({"measurement": "jobs"}, "pays for jobs revision 1, but its spec is feed revision 1"),
        ({"party": "b"}, "is a debit of party b"),
        ({"sequence": 4}, "is numbered 4, expected 0"),
    ],
)
def test_a_ledger_that_its_party_rewrote_is_told(house: InProcessPipeline, changes: dict[str, Any], text: str) -> None:
    """Chained and signed anew by the party itself: the specs and the limits still show it."""

    def change(offset: int, content: dict[str, Any]) -> None:
        if offset == 0:
            content |= changes

    problems = told(judged(house, debited_again(house, ledger_of(house), change), releases_of(house)))
    assert any(text in line for line in problems if line.startswith("ledger-a offset"))
    assert any("which is not in the ledger" in line for line in problems)  # releases name what was there


@pytest.mark.parametrize(
    "changes",
    [{"spec_sha256": "zz"}, {"spec_sha256": "ab"}, {"measurement": "\ud800"}, {"at_ms": 1 << 53}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_debit_of_no_spec_is_told(house: InProcessPipeline, changes: dict[str, Any]) -> None:
    """What its party signs may be anything: the check says so, goes on, and ends in no error of its own."""

    def change(offset: int, content: dict[str, Any]) -> None:
        if offset == 0:
            content |= changes

    problems = told(judged(house, debited_again(house, ledger_of(house), change), releases_of(house)))
    assert problems[0] == "ledger-a offset 0: is no debit that party a signed: the record is not a debit"
    assert problems[1].startswith("ledger-a offset 1: is not the first debit")


def test_a_debit_below_what_its_releases_cost_is_told(house: InProcessPipeline) -> None:
    """A party that debits half, and has its releases name those debits, is found by what the noise really costs."""

    def change(offset: int, content: dict[str, Any]) -> None:
        content["rho"] /= 2

    ledger = list(debited_again(house, ledger_of(house), change))
    renamed = {
        SignedDebit.decode(old).digest: SignedDebit.decode(new).digest
        for (_, old), (_, new) in zip(ledger_of(house), ledger, strict=True)
    }
    releases = [
        (offset, again(house, value, debit=renamed[SignedRelease.decode(value).release.debit]))
        for offset, value in releases_of(house)
    ]
    problems = told(judged(house, ledger, releases))
    costs = [line for line in problems if "the day's releases cost" in line]
    assert [line.split(":")[0] for line in costs] == [f"ledger-a offset {offset}" for offset in range(4)]
    assert costs[0].startswith("ledger-a offset 0: debits rho 0.05, but the day's releases cost 0.1")
    assert len(problems) == 8  # and each contradicts its spec


def test_a_second_debit_for_one_day_is_told(house: InProcessPipeline) -> None:
    """Two writers leave two debits of one day."""

    def change(offset: int, content: dict[str, Any]) -> None:
        if offset == 2:
            content["day"] = "2024-10-03"

    problems = told(judged(house, debited_again(house, ledger_of(house), change), releases_of(house)))
    assert "ledger-a offset 2: debits feed revision 1 on 2024-10-03 a second time" in problems


def test_a_limit_that_was_passed_is_told(house: InProcessPipeline) -> None:
    """Under a lower limit than the party had, the debits that pass it are told."""
    problems = told(judged(house, ledger_of(house), releases_of(house), limits=Limits.of_day(0.25)))
    assert [line.split(": ")[:2] for line in problems] == [
        ["ledger-a offset 1", "passes a limit"], ["ledger-a offset 3", "passes a limit"],
    ]  # fmt: skip


def test_debits_without_releases_are_named_and_no_problem(house: InProcessPipeline) -> None:
    """A debit is durable before its first release can be seen: until then it is idle."""
    releases = releases_of(house)
    void = [(o, again(house, v, status="void", reason="x", debit=NO_DEBIT)) for o, v in releases]
    findings = judged(house, ledger_of(house), void)
    assert told(findings) == []
    assert findings.windows == {"void": len(releases)}
    assert [entry.offset for entry in findings.idle] == [0, 1, 2, 3]


@pytest.mark.slow
def test_many_releases_are_checked_in_little_time(house: InProcessPipeline) -> None:
    """A release costs its signature and little more: a million are a minute or two, by the number of cores."""
    first = releases_of(house)[0][1]
    count = 4_000
    copies = [(offset, first) for offset in range(count)]
    begun = time.process_time()
    findings = judged(house, ledger_of(house), copies)
    assert findings.copies == count - 1
    assert time.process_time() - begun < count * 1e-3  # ten times what it takes: a guard against work by the row
