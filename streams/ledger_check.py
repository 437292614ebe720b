"""Whether a party's releases are what its ledger paid for: by its two topics, the approved specs and public keys only.

What it can say. Each debit was signed by the party, follows from the one before it, has the terms of the signed spec,
and passes no limit. Each release was signed by the party, names a debit of its own day, measurement, revision and spec,
has the noise that the spec's calibration gives, and was made once. What a day's releases cost a member is no more than
was debited. No scheduled window is missing between the first and the last.

What it cannot say: whether the noise was really drawn so (docs/privacy.md, the audit), and whether the newest releases
or debits were taken away together, since nothing names them yet.

Everything is one pass in the order of the topics: a decoded release is held against what was worked out once for its
spec and level, and signatures are checked on all cores, many at a time.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from privacy import (
    Accountant,
    BudgetExceeded,
    CountingDays,
    Debit,
    Ledger,
    LedgerBroken,
    Limits,
    NoisePlan,
    ReleaseSpend,
    plan_noise,
)
from privacy.limits import TOLERANCE
from secure_agg import PinnedIdentities, SignatureInvalid
from streams.control import Approved
from streams.errors import RecordMalformed
from streams.records.debit import SignedDebit
from streams.records.release import Release, ReleasedChannel, SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.releasing import released_channels

Records = Iterable[tuple[int, bytes]]
"""(offset, value) of each record of a topic with one partition, in order."""

_CHUNK = 8_192
_MOST_PROBLEMS = 10_000
_MOST_MISSING = 10_000_000
_DIGEST_BYTES = 16
_DAY_MS = 86_400_000
_GENESIS = "0" * 64


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it must be, and where.

    Attributes:
        topic: "ledger-a", "releases-b" and so on, without the deployment. offset: on it.
    """

    topic: str
    offset: int
    text: str

    def __str__(self) -> str:
        return f"{self.topic} offset {self.offset}: {self.text}"


@dataclass(frozen=True)
class Entry:
    """A debit as it lies on the topic; ``digest`` is the SHA-256 by which the next debit and releases name it."""

    offset: int
    debit: Debit
    digest: bytes
    record: bytes


@dataclass
class Findings:
    """What a check has found.

    Attributes:
        party: "a" or "b".
        entries: debits that the party signed, in the order of the topic.
        problems: in the order in which they were found, at most 10,000. more: how many were found beyond those.
        notes: what is no problem and yet worth knowing.
        windows: releases by status. copies: further copies of a release with the same bytes, as aborted transactions
            leave them.
        idle: debits that no release names (yet).
    """

    party: str
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)
    windows: dict[str, int] = field(default_factory=dict)
    copies: int = 0
    idle: list[Entry] = field(default_factory=list)

    def add(self, topic: str, offset: int, text: str) -> None:
        """Note a problem on this party's topic of that kind, "ledger" or "releases"."""
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(f"{topic}-{self.party}", offset, text))
        else:
            self.more += 1


def check(
    party: str,
    *,
    ledger: Records,
    releases: Records,
    approved: Iterable[Approved],
    trusted: PinnedIdentities,
    limits: Limits,
    progress: Callable[[int], None] = lambda count: None,
) -> Findings:
    """Hold a party's releases against its ledger.

    Args:
        party: "a" or "b".
        ledger: the party's ledger topic, read_committed: a debit that was aborted is none.
        releases: its releases, read_uncommitted: what an aborted transaction left can be read by anyone.
        approved: all approved revisions, under the settings that the limits are from.
        trusted: pinned identities.
        limits: of the registry.
        progress: is told, now and then, how many releases have been checked.
    """
    findings = Findings(party)
    specs = {entry.spec: _Spec(entry) for entry in approved}
    read_ledger(findings, ledger, trusted)
    _check_terms(findings, specs, limits)
    _Releases(findings, specs, trusted).check(releases, progress)
    return findings


# -- the ledger -------------------------------------------------------------------------------------------------------


def read_ledger(findings: Findings, records: Records, trusted: PinnedIdentities) -> None:
    """Take in a party's debits: those that it signed become entries, and each break of the chain a problem."""
    previous, number = _GENESIS, 0
    for offset, value in records:
        try:
            signed = SignedDebit.decode(value)
            signed.verify(findings.party, trusted)
            debit = Debit.decode(signed.debit)
        except (RecordMalformed, SignatureInvalid, LedgerBroken) as error:
            findings.add("ledger", offset, f"is no debit that party {findings.party} signed: {error}")
            continue
        if debit.party != findings.party:
            findings.add("ledger", offset, f"is a debit of party {debit.party}")
        if debit.previous != previous:
            what = "is not the first debit" if number == 0 else "does not follow from the debit before it"
            findings.add("ledger", offset, f"{what}: debits were removed, changed or reordered before it")
        elif debit.sequence != number:
            findings.add("ledger", offset, f"is numbered {debit.sequence}, expected {number}")
        previous, number = hashlib.sha256(signed.debit).hexdigest(), debit.sequence + 1
        findings.entries.append(Entry(offset, debit, signed.digest, signed.debit))


def _check_terms(findings: Findings, specs: Mapping[bytes, _Spec], limits: Limits) -> None:
    """Each debit against its signed spec; and all of them, in order, against the limits."""
    judge = Ledger(findings.party, limits)
    for entry in findings.entries:
        debit = entry.debit
        named = _name(debit.measurement, debit.revision)
        spec = specs.get(bytes.fromhex(debit.spec_sha256))
        if spec is None:
            findings.add("ledger", entry.offset, f"pays for spec {debit.spec_sha256[:16]}, which is not approved")
        elif (debit.measurement, debit.revision) != spec.name:
            findings.add("ledger", entry.offset, f"pays for {named}, but its spec is {_name(*spec.name)}")
        elif not math.isclose(debit.rho, spec.plan.rho_member_day, rel_tol=1e-12):
            text = f"debits rho {debit.rho:g} where the signed spec says {spec.plan.rho_member_day:g}"
            findings.add("ledger", entry.offset, text)
        elif debit.counting != spec.plan.counting:
            text = f"counts a member on {_days(debit.counting)}, where the signed spec says {_days(spec.plan.counting)}"
            findings.add("ledger", entry.offset, text)
        try:
            again = judge.debit(
                day=debit.day,
                measurement=debit.measurement,
                revision=debit.revision,
                spec_sha256=debit.spec_sha256,
                rho=debit.rho,
                days_in_30=debit.days_in_30,
                days_in_year=debit.days_in_year,
                at_ms=debit.at_ms,
            )
        except BudgetExceeded as error:
            findings.add("ledger", entry.offset, f"passes a limit: {error}")
            continue
        if again is None:
            findings.add("ledger", entry.offset, f"debits {named} on {debit.day} a second time")


# -- releases ---------------------------------------------------------------------------------------------------------


class _Level:
    """What every release of one level of one spec must be, and which windows have been seen."""

    def __init__(self, length_ms: int, channels: tuple[ReleasedChannel, ...]) -> None:
        self.length_ms = length_ms
        self.channels = channels
        self.seen = bytearray()
        """16 bytes for each window from the revision's start on: of its bytes' digest, zeros where it is missing."""


class _Spec:
    """An approved revision with its noise and its levels, worked out once."""

    def __init__(self, approved: Approved) -> None:
        measurement, layout = approved.measurement, ChannelLayout.of(approved.measurement)
        self.approved = approved
        self.measurement = measurement
        self.name = (measurement.id, measurement.revision)
        self.plan: NoisePlan = plan_noise(measurement)
        self.levels: dict[str, _Level] = {}
        for level in measurement.levels:
            self.levels[level.name] = _Level(level.length_ms, released_channels(self.plan, layout, level.name))


class _Releases:
    """One pass over a party's releases."""

    def __init__(self, findings: Findings, specs: Mapping[bytes, _Spec], trusted: PinnedIdentities) -> None:
        self._findings = findings
        self._specs = specs
        self._trusted = trusted
        self._debits = {entry.digest: entry for entry in findings.entries}
        # By debit and level, one event. All of a day's windows of a level have the same noise (checked), and compose in
        # parallel: further events of theirs would add nothing (privacy.accountant).
        self._paid: dict[bytes, dict[str, ReleaseSpend]] = {}

    def check(self, records: Records, progress: Callable[[int], None]) -> None:
        """Take in every release, in order; what is not the party's is told and passed over."""
        done, cores = 0, os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as pool:
            for chunk in _chunks(records):
                # Checking a signature, which is most of the work, lets other threads run.
                step = -(-len(chunk) // (4 * cores))
                parts = [chunk[start : start + step] for start in range(0, len(chunk), step)]
                for part, judged in zip(parts, pool.map(self._judged, parts), strict=True):
                    for (offset, value), release in zip(part, judged, strict=True):
                        if isinstance(release, str):
                            self._findings.add("releases", offset, release)
                        else:
                            self._take(offset, value, release)
                done += len(chunk)
                progress(done)
        self._costs()

    def _judged(self, part: Sequence[tuple[int, bytes]]) -> list[Release | str]:
        """Each release, or why it is none of this party's."""
        return [self._one(value) for _, value in part]

    def _one(self, value: bytes) -> Release | str:
        try:
            signed = SignedRelease.decode(value)
            if signed.release.party != self._findings.party:
                return f"names party {signed.release.party}"
            signed.verify(self._trusted)
        except RecordMalformed as error:
            return f"cannot be read: {error}"
        except SignatureInvalid:
            return f"was not signed by party {self._findings.party}"
        return signed.release

    def _take(self, offset: int, value: bytes, release: Release) -> None:
        spec = self._specs.get(release.spec)
        if spec is None:
            text = f"{_window(release)} names spec {release.spec.hex()[:16]}, which is not approved"
            self._findings.add("releases", offset, text)
            return
        level = spec.levels.get(release.level)
        if level is None or (release.measurement, release.revision) != spec.name:
            self._findings.add("releases", offset, f"{_window(release)} is not what its spec measures")
            return
        if not self._is_new(offset, value, release, spec, level):
            return
        status = release.status
        self._findings.windows[status] = self._findings.windows.get(status, 0) + 1
        if release.channels != level.channels:
            text = f"{_window(release)} states {_told(release.channels)}, but its spec gives {_told(level.channels)}"
            self._findings.add("releases", offset, text)
        if status == "released":
            self._is_paid(offset, release, spec)

    def _is_new(self, offset: int, value: bytes, release: Release, spec: _Spec, level: _Level) -> bool:
        """Whether this window has not been seen; its place among the windows of its level is checked as well."""
        begin, until = spec.approved.from_ms, spec.approved.until_ms
        number, apart = divmod(release.start_ms - begin, level.length_ms)
        ends = release.end_ms == release.start_ms + level.length_ms
        if apart or not ends or not begin <= release.start_ms < until:
            self._findings.add("releases", offset, f"{_window(release)} is no window of its revision")
            return False
        digest = hashlib.blake2b(value, digest_size=_DIGEST_BYTES).digest()
        seen, place = level.seen, number * _DIGEST_BYTES
        missing = number - len(seen) // _DIGEST_BYTES
        if missing == 0:
            seen += digest
            return True
        if missing > 0:
            first = _time(release.start_ms - missing * level.length_ms)
            text = f"{_window(release)} comes, but {missing} window(s) from {first} on are missing before it"
            self._findings.add("releases", offset, text)
            if missing <= _MOST_MISSING:
                seen += bytes(missing * _DIGEST_BYTES) + digest
            return True
        known = bytes(seen[place : place + _DIGEST_BYTES])
        if known == digest:
            self._findings.copies += 1
            return False
        if known == bytes(_DIGEST_BYTES):
            self._findings.add("releases", offset, f"{_window(release)} comes after windows that follow it")
            seen[place : place + _DIGEST_BYTES] = digest
            return True
        self._findings.add("releases", offset, f"{_window(release)} was released before, with other bytes")
        return False

    def _is_paid(self, offset: int, release: Release, spec: _Spec) -> None:
        entry = self._debits.get(release.debit)
        if entry is None:
            text = f"{_window(release)} names debit {release.debit.hex()[:16]}, which is not in the ledger"
            self._findings.add("releases", offset, text)
            return
        debit = entry.debit
        wanted = (_day(release.start_ms), release.measurement, release.revision, release.spec.hex())
        if (debit.day, debit.measurement, debit.revision, debit.spec_sha256) != wanted:
            named = _name(debit.measurement, debit.revision)
            text = f"{_window(release)} names a debit for {named} on {debit.day}, spec {debit.spec_sha256[:16]}"
            self._findings.add("releases", offset, text)
            return
        events = self._paid.setdefault(release.debit, {})
        if release.level not in events:
            events[release.level] = spec.plan.spend(release.level, release.start_ms, release.end_ms)

    def _costs(self) -> None:
        """What each debit's releases cost a member-day, against what was debited."""
        noted = set()
        for entry in self._findings.entries:
            events = self._paid.get(entry.digest)
            if events is None:
                self._findings.idle.append(entry)
                continue
            spec = self._specs[bytes.fromhex(entry.debit.spec_sha256)]
            if spec.measurement.test_only is not None:
                noted.add(f"{_name(*spec.name)} is test_only: its noise protects nobody, whatever was debited")
                continue
            accountant = Accountant(spec.measurement.privacy.delta, events.values())
            cost = math.fsum(accountant.member_days("replace").values())
            if cost > entry.debit.rho + TOLERANCE:
                text = f"debits rho {entry.debit.rho:g}, but the day's releases cost {cost:g}"
                self._findings.add("ledger", entry.offset, text)
        self._findings.notes += sorted(noted)


def _chunks(records: Records) -> Iterator[list[tuple[int, bytes]]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _told(channels: tuple[ReleasedChannel, ...]) -> str:
    return ", ".join(f"{c.name} {list(c.shape)} sigma {c.sigma_units:.9g} rho {c.rho:.9g}" for c in channels)


def _days(counting: CountingDays) -> str:
    return f"{counting.in_30} of 30 and {counting.in_year} of 365 days"


def _name(measurement: str, revision: int) -> str:
    return f"{measurement} revision {revision}"


def _window(release: Release) -> str:
    return f"{release.measurement}/{release.level} from {_time(release.start_ms)}"


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"


def _day(start_ms: int) -> str:
    return _time(start_ms // _DAY_MS * _DAY_MS)[:10]
