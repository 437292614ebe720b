"""A party's releases: debited, noised once, signed, committed, and only then sent.

Two steps (DESIGN section 5, "noise once"). An aborted Kafka transaction stays readable, so a release must not leave in
the transaction that draws its noise: the noised bytes, the budget debit and the input offsets are first committed to
private state; only when that commit is durable do the same bytes go to `releases`, now or after any number of restarts.
"""

from __future__ import annotations

import logging

import msgspec
import numpy as np
from numpy.typing import NDArray

from privacy import BudgetExceeded, ChannelNoise, Ledger, LedgerBroken, NoisePlan, plan_noise
from secure_agg import Identity
from secure_agg.commitments import DIGEST_BYTES, authenticate
from streams.control import Approved
from streams.records.release import Release, ReleasedChannel, SignedRelease
from streams.roles.channel_layout import ChannelLayout
from streams.roles.windows import ClosedWindow
from streams.state import StateCodec
from streams.watch.health import RoleHealth

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_PENDING = b"pending/"
_NOT_AFRESH = (
    "The party does not start without it, since it would noise windows a second time; else use a new deployment"
)


class _PendingState(msgspec.Struct, array_like=True):
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

    def restore(self, key: bytes, value: bytes, codec: StateCodec) -> bool:
        """Take in one state record; False where it is none of a release."""
        if not key.startswith(_PENDING):
            return False
        self._committed[key] = codec.decode(key, value, _PendingState).release
        return True

    def restore_ledger(self, record: bytes) -> None:
        """Take in the next record of the ledger."""
        self._ledger.restore(record)

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
        if release.status == "released" and not self._ledger.covers(day, release.measurement, release.revision):
            raise LedgerBroken(f"{what} is ahead of its ledger, which was lost or cut: restore it. {_NOT_AFRESH}")
        if release.end_ms > closed_through_ms:
            raise LedgerBroken(f"{what} is ahead of its state, which was lost or cut: restore it. {_NOT_AFRESH}")

    @property
    def can_send(self) -> bool:
        """Whether a release has been committed and not been sent."""
        return bool(self._committed)

    def sendable(self) -> list[tuple[bytes, bytes, bytes]]:
        """What earlier commits have made sendable: (its state key, its key on `releases`, its bytes)."""
        ready = [(key, key.removeprefix(_PENDING), value) for key, value in self._committed.items()]
        self._committed = {}
        return ready

    def debits(self) -> list[bytes]:
        """Ledger records since the last call."""
        records, self._debits = self._debits, []
        return records

    def state(self, codec: StateCodec) -> list[tuple[bytes, bytes]]:
        """Key and value of the releases drawn since the last commit."""
        return [(key, codec.encode(key, _PendingState(value))) for key, value in self._drawn.items()]

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
        if status == "released":
            refusal = self._debit(approved, window.start_ms, plan, now_ms)
            if refusal is not None:
                status, reason = "refused", refusal
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
            channels=tuple(
                ReleasedChannel(name, shape, noises[name].scale_units, noises[name].rho)  # type: ignore[arg-type]
                for name, shape in shapes.items()
            ),
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
            self._debits.append(record)
        return None


def _noised(share: NDArray[np.uint64], noise: ChannelNoise) -> NDArray[np.uint64]:
    # The noise is drawn on zeros and added in the ring: OpenDP's own integers saturate at their ends.
    return share + noise.sample(share.size).view(np.uint64).reshape(share.shape)


def _utc_day(start_ms: int) -> str:
    return str(np.datetime64(start_ms // _DAY_MS, "D"))
