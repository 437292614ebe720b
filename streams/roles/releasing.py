"""A party's releases: debited, noised once, signed, committed, and only then sent.

Two steps (DESIGN section 5, "noise once"). An aborted Kafka transaction stays readable, so a release must not leave in
the transaction that draws its noise: the noised bytes, the budget debit and the input offsets are first committed to
private state; only when that commit is durable do the same bytes go to `releases`, now or after any number of restarts.

At each start a party holds its state and ledger against what it has released: whoever could put them back could have
windows noised again. How far back its topic must be read follows from the ledger, not from a number of records, which
anyone who may write there could fill: a release comes after the debit that pays for it. So whatever was sent of a
revision on the day of its newest debit lies after that debit's time, and of days before it the debit itself tells. A
ledger that was put back as well has an older newest debit, and only makes the party read more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from privacy import BudgetExceeded, ChannelNoise, Debit, Ledger, LedgerBroken, NoisePlan, plan_noise
from privacy.budget import day_name, day_number
from secure_agg import Identity, PinnedIdentities, SignatureInvalid
from secure_agg.commitments import DIGEST_BYTES, authenticate
from streams.control import Approved
from streams.errors import RecordMalformed
from streams.records.debit import NO_DEBIT, SignedDebit
from streams.records.release import Release, ReleasedChannel, SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.windows import ClosedWindow
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_CLOCK_STEP_MS = 3_600_000
"""How far a party's clock may have been set back between a debit and the release that it pays for."""
_PENDING = b"pending/"
_NOT_AFRESH = (
    "The party does not start without it, since it would noise windows a second time; else use a new deployment"
)


def not_finished(approved: Approved, closed_through_ms: int, now_ms: int) -> bool:
    """Whether windows of a revision could be closed from the restored state on, and some may have been before.

    Args:
        closed_through_ms: the end of the last of its windows that the state has as closed.
        now_ms: the party's clock. The log's may be up to a day ahead of it.
    """
    begun = approved.from_ms <= now_ms + _DAY_MS
    return begun and not approved.revoked and closed_through_ms < approved.until_ms


def newest_debits(entries: Sequence[Debit]) -> dict[bytes, Debit]:
    """The debit of the last day of each revision, by its spec's digest."""
    return {bytes.fromhex(debit.spec_sha256): debit for debit in sorted(entries, key=lambda debit: debit.day)}


def read_back_to_ms(unfinished: Collection[bytes], known: Collection[bytes], entries: Sequence[Debit]) -> int:
    """From when on a party must read its own releases, epoch milliseconds; 0: all of them.

    That is: from the newest debit of every revision that is not finished, or that was paid for and is not in the
    registry; and from the newest of all, since the ledger itself may have been cut there.

    Args:
        unfinished: specs of the registry by :func:`not_finished`. known: all specs of the registry.
        entries: the restored ledger.
    """
    newest = newest_debits(entries)
    if not newest or any(spec not in newest for spec in unfinished):
        return 0
    wanted = {*unfinished, *(spec for spec in newest if spec not in known)}
    since = min([entries[-1].at_ms, *(newest[spec].at_ms for spec in wanted)])
    return max(0, since - _CLOCK_STEP_MS)


class _PendingState(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A release that is noised and committed, but perhaps not yet sent."""

    release: bytes


class ReleaseDesk:
    """See the module's text.

    Args:
        party: "a" or "b". identity, ledger, health: its own.
    """

    def __init__(self, party: str, identity: Identity, ledger: Ledger, health: RoleHealth) -> None:
        self._party = party
        self._identity = identity
        self._ledger = ledger
        self._health = health
        self._plans: dict[bytes, NoisePlan] = {}
        self._drawn: dict[bytes, bytes] = {}
        self._committed: dict[bytes, bytes] = {}
        self._debits: list[bytes] = []
        self._dropped: list[bytes] = []

    def restore(self, key: bytes, value: bytes, codec: StateCodec) -> bool:
        """Take in one state record; False where it is none of a release."""
        if not key.startswith(_PENDING):
            return False
        self._committed[key] = codec.decode(key, value, _PendingState).release
        return True

    def restore_ledger(self, value: bytes, trusted: PinnedIdentities) -> None:
        """Take in the next record of the ledger.

        Raises:
            LedgerBroken: the party did not sign it, or it does not follow from the one before it.
        """
        try:
            signed = SignedDebit.decode(value)
            signed.verify(self._party, trusted)
        except (RecordMalformed, SignatureInvalid) as error:
            raise LedgerBroken(
                f"record {len(self._ledger.entries)} of party {self._party}'s ledger is not a debit that this party "
                f"signed ({error}). The party does not start on a ledger that others have written to"
            ) from None
        self._ledger.restore(signed.debit)

    def check_debit(self, debit: Debit, closed_through_ms: int) -> None:
        """Check one of the ledger's debits against the restored state, which was committed with it.

        Args:
            closed_through_ms: the end of the last window of its measurement that the party's state has as closed.

        Raises:
            LedgerBroken: the state does not know of any window on the debit's day or after it.
        """
        if closed_through_ms <= _day_start_ms(debit.day):
            raise LedgerBroken(
                f"party {self._party}'s debit of {debit.day} for {debit.measurement} is ahead of its state, which was "
                f"lost or cut: restore it. {_NOT_AFRESH}"
            )

    def check_sent(self, signed: SignedRelease, closed_through_ms: int) -> None:
        """Check one of the party's own releases against what it remembers: it must not be ahead of it.

        Args:
            closed_through_ms: the end of the last window of its measurement that the party's state has as closed.

        Raises:
            LedgerBroken: the ledger does not cover it, or the state does not know it: either was lost. Going on would
                noise a window twice, or spend a budget twice.
        """
        release = signed.release
        what = f"party {self._party}'s release of {'/'.join(map(str, release.key))}"
        day = _utc_day(release.start_ms)
        if release.status == "released" and release.debit != self._paid_by(day, release.measurement, release.revision):
            raise LedgerBroken(
                f"{what} is ahead of its ledger, which was lost or cut: it does not hold the debit that the release "
                f"names, {release.debit.hex()[:16]}. Restore it. {_NOT_AFRESH}"
            )
        if release.end_ms > closed_through_ms:
            raise LedgerBroken(f"{what} is ahead of its state, which was lost or cut: restore it. {_NOT_AFRESH}")

    @property
    def ledger(self) -> Ledger:
        """The party's ledger."""
        return self._ledger

    @property
    def can_send(self) -> bool:
        """Whether a release has been committed and not been sent."""
        return bool(self._committed)

    def sendable(self) -> list[tuple[bytes, bytes, bytes]]:
        """What earlier commits have made sendable: (its state key, its key on `releases`, its bytes)."""
        ready = [(key, key.removeprefix(_PENDING), value) for key, value in self._committed.items()]
        self._committed = {}
        return ready

    def drop(self, spec: bytes) -> None:
        """Let go of a revoked revision's releases that have not been sent.

        They are paid for and could be sent; but once a party knows of a revocation nothing of the measurement leaves it
        any more, without trust in `publish` to hold it back. Their windows stay closed, so none is drawn again.
        """
        for key, value in list(self._committed.items()):
            if SignedRelease.decode(value).release.spec == spec:
                del self._committed[key]
                self._dropped.append(key)

    @property
    def changed(self) -> bool:
        """Whether there is something to commit."""
        return bool(self._dropped)

    def debits(self) -> list[bytes]:
        """Ledger records since the last call."""
        records, self._debits = self._debits, []
        return records

    def state(self, codec: StateCodec) -> list[tuple[bytes, bytes | None]]:
        """Key and value of the releases drawn since the last commit; None: it was let go."""
        gone, self._dropped = self._dropped, []
        drawn = [(key, codec.encode(key, _PendingState(value))) for key, value in self._drawn.items()]
        return [*((key, None) for key in gone), *drawn]

    def committed(self) -> None:
        """What was drawn is durable, and may leave."""
        self._committed, self._drawn = self._drawn, {}

    # -- drawing --------------------------------------------------------------------------------------------------

    def plan(self, approved: Approved) -> NoisePlan:
        """The noise of a measurement, worked out once: ask before its first window, since that takes 0.1 s."""
        plan = self._plans.get(approved.spec)
        if plan is None:
            plan = self._plans[approved.spec] = plan_noise(approved.measurement)
        return plan

    def release(self, window: ClosedWindow, coverage_key: bytes, now_ms: int) -> None:
        """Noise each channel of a closed window's share, once, and keep the signed bytes until they are committed.

        The rectifier's columns of a level that does not release them are left behind here.

        Args:
            coverage_key: 32 bytes under which both parties show their coverage.
            now_ms: the party's clock, for the ledger.
        """
        approved, measurement = window.approved, window.approved.measurement
        plan = self.plan(approved)
        layout, noises = ChannelLayout.of(measurement), plan.level(window.level).channels
        shapes = layout.released(window.level)
        status, reason = ("void", window.void_reason) if window.void_reason else ("released", "")
        debit = NO_DEBIT
        if status == "released":
            refusal = self._debit(approved, window.start_ms, plan, now_ms)
            if refusal is not None:
                status, reason = "refused", refusal
            else:
                debit = self._paid_by(_utc_day(window.start_ms), measurement.id, measurement.revision)
        release = Release(
            party=self._party,  # type: ignore[arg-type]  # "a" or "b", as the constructor was told
            measurement=measurement.id,
            revision=measurement.revision,
            spec=approved.spec,
            level=window.level,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            status=status,  # type: ignore[arg-type]  # one of the three literals above
            reason=reason,
            coverage=bytes(DIGEST_BYTES),
            debit=debit,
            channels=released_channels(plan, layout, window.level),
        )
        release = msgspec.structs.replace(
            release, coverage=authenticate(coverage_key, window.coverage, release.coverage_binding())
        )
        noised: dict[str, NDArray[np.uint64]] | None = None
        if status == "released":
            noised = {name: _noised(layout.channel(name, window.table, window.tail), noises[name]) for name in shapes}
        signed = SignedRelease.signed(self._identity, release, noised)
        self._drawn[_PENDING + release.topic_key()] = signed.encode()
        self._health.window(measurement.id, window.level, status)

    def _debit(self, approved: Approved, start_ms: int, plan: NoisePlan, now_ms: int) -> str | None:
        """Debit the member-day before its first window; the reason for a refusal, or None."""
        measurement = approved.measurement
        try:
            record = self._ledger.debit(
                day=_utc_day(start_ms),
                measurement=measurement.id,
                revision=measurement.revision,
                spec_sha256=approved.spec.hex(),
                rho=plan.rho_member_day,
                days_in_30=plan.counting.in_30,
                days_in_year=plan.counting.in_year,
                at_ms=now_ms,
            )
        except BudgetExceeded as error:
            log.error("release refused: %s", error)
            return error.reason
        if record is not None:
            self._debits.append(SignedDebit.signed(self._identity, record).encode())
        return None

    def _paid_by(self, day: str, measurement: str, revision: int) -> bytes:
        """The debit by which a member-day is paid for, by its SHA-256; zeros where there is none."""
        paid = self._ledger.paid_by(day, measurement, revision)
        return NO_DEBIT if paid is None else bytes.fromhex(paid)


def released_channels(plan: NoisePlan, layout: ChannelLayout, level: str) -> tuple[ReleasedChannel, ...]:
    """What every release of a level says of its channels, in the order of the wire."""
    noises = plan.level(level).channels
    return tuple(
        ReleasedChannel(name, shape, noises[name].scale_units, noises[name].rho)  # type: ignore[arg-type]
        for name, shape in layout.released(level).items()
    )


def _noised(share: NDArray[np.uint64], noise: ChannelNoise) -> NDArray[np.uint64]:
    # The noise is drawn on zeros and added in the ring: OpenDP's own integers saturate at their ends.
    return share + noise.sample(share.size).view(np.uint64).reshape(share.shape)


def _utc_day(start_ms: int) -> str:
    return day_name(start_ms // _DAY_MS)


def _day_start_ms(day: str) -> int:
    return day_number(day) * _DAY_MS
