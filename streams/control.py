"""What every role reads of `measurements` and `keys`: approved specs, epoch keys, wrapped data keys.

Each role checks every record for itself and takes nothing on another role's word: a spec is inert until the governance
keys have signed its exact bytes, and a key is unknown until the role that it names has signed it. The class is pure;
``streams.kafka.control_reader`` feeds it from Kafka, and the in-process pipeline from memory.

All roles apply the same records in the same order, so all come to the same registry of measurements. A revocation
forbids rows and releases from the moment a role reads it; it changes no revision's windows, so that what is folded of
other measurements is the same whenever each role learns of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy import (
    ApprovalError,
    Limits,
    Measurement,
    MeasurementError,
    RegistryBudgetError,
    Revocation,
    RevocationError,
    SignedMeasurement,
    check_registry_budget,
    is_revocation,
    key_id,
    verify,
)
from secure_agg import EpochPublicKey, SignatureInvalid, Trusted
from streams.errors import ProtocolStop, RecordMalformed, SettingsError, SkipInvalid
from streams.layouts import Layouts
from streams.records import frame
from streams.records.destroyed import KeyDestroyed, KeyKind, decode_key_destroyed
from streams.records.frame import Kind
from streams.records.header import source_digest
from streams.records.keys import EpochKey, WrappedKey, decode_key_record
from streams.records.layout import Layout, decode_layout
from streams.records.skip import Skip, is_skip
from streams.settings import Settings
from streams.skips import Skips

log = logging.getLogger(__name__)

FOREVER_MS = 1 << 53


def limits_of(settings: Settings) -> Limits:
    """The registry's limits, as a deployment's settings have them."""
    privacy = settings.privacy
    return Limits(privacy.rho_member_day_limit, privacy.rho_30_days_limit, privacy.rho_year_limit)


def governance_keys(trusted: Trusted) -> dict[str, Ed25519PublicKey]:
    """The pinned governance keys by their ids."""
    return {key_id(key): key for key in trusted.governance}


def operator_keys(trusted: Trusted) -> dict[str, Ed25519PublicKey]:
    """The pinned operator keys by their ids."""
    return {key_id(key): key for key in trusted.operators}


@dataclass(frozen=True)
class Approved:
    """A measurement revision that the governance keys have signed.

    Attributes:
        measurement: the spec.
        spec: SHA-256 of the signed spec bytes; names the revision in every record.
        source: SHA-256 of the source topic's name.
        from_ms, until_ms: windows that begin in [from_ms, until_ms) belong to this revision, revoked or not.
        offset: where it lies on `measurements`.
        revoked_at_ms: nothing of windows that end after this is published, and no row or release is made any more,
            epoch milliseconds; the earliest of its revocations, None while it stands.
    """

    measurement: Measurement
    spec: bytes
    source: bytes
    from_ms: int
    until_ms: int
    offset: int
    revoked_at_ms: int | None = None

    @property
    def revoked(self) -> bool:
        """Whether a governance key has stopped it."""
        return self.revoked_at_ms is not None

    def state(self, now_ms: int) -> str:
        """Where it stands: "scheduled", "active", "expired", "superseded" (by a later revision) or "revoked".

        A replayed log (``arrival: record_time``) has times of its own, of which the clock says nothing: it may be
        replayed at any time, so its revision is active unless it is revoked.

        Args:
            now_ms: epoch milliseconds.
        """
        if self.revoked:
            return "revoked"
        if self.measurement.source.arrival == "record_time":
            return "active"
        if now_ms < self.from_ms:
            return "scheduled"
        if now_ms < self.until_ms:
            return "active"
        return "expired" if self.until_ms == self.measurement.expires_ms else "superseded"

    def is_over(self, now_ms: int) -> bool:
        """Whether what its windows say is no longer so: it is revoked, or its last window is due and was late enough.

        Args:
            now_ms: epoch milliseconds.
        """
        if self.revoked or self.measurement.source.arrival == "record_time":
            return self.revoked
        return now_ms >= self.until_ms + self.measurement.levels[-1].length_ms + self.measurement.lateness_ms

    def covers(self, window_start_ms: int) -> bool:
        """Whether a base window that starts then is counted under this revision."""
        return self.from_ms <= window_start_ms < self.until_ms

    def window_start_ms(self, end_ms: int) -> int:
        """Start of the base window that a batch names by its end, or :class:`ProtocolStop` where there is none.

        A window that a later revision has taken over is one still: `seal` may have written before it knew.
        """
        start_ms = end_ms - self.measurement.base_ms
        if not self.has_window(self.measurement.levels[0].name, start_ms, end_ms):
            raise ProtocolStop("a batch names a window that its measurement does not have")
        return start_ms

    def has_window(self, level: str, start_ms: int, end_ms: int) -> bool:
        """Whether the signed spec itself has this window: of its levels, from its beginning, before it expires."""
        expires_ms = self._expires_ms
        return (
            any(level == known.name and end_ms - start_ms == known.length_ms for known in self.measurement.levels)
            and end_ms % (end_ms - start_ms) == 0
            and self.from_ms <= start_ms
            and (expires_ms is None or start_ms < expires_ms)
        )

    @cached_property
    def _expires_ms(self) -> int | None:
        return self.measurement.expires_ms  # a date to be converted; every batch is held against it

    def withdraws(self, end_ms: int) -> bool:
        """Whether a window that ends then must not be published, since the revision was revoked before its end."""
        return self.revoked_at_ms is not None and end_ms > self.revoked_at_ms


def revoked_at_ms(entries: Iterable[Approved]) -> dict[tuple[str, int], int]:
    """When each revision that was revoked was, epoch milliseconds, by its measurement's id and its number."""
    return {
        (entry.measurement.id, entry.measurement.revision): entry.revoked_at_ms
        for entry in entries
        if entry.revoked_at_ms is not None
    }


class ControlPlane:
    """One role's view of the control topics.

    Args:
        trusted: pinned identities and governance keys.
        test_cluster: whether ``test_only`` specs are allowed.
        limits: what all measurements together may spend on a member.
        threshold: how many governance keys must have signed.
    """

    def __init__(self, trusted: Trusted, *, test_cluster: bool, limits: Limits, threshold: int = 1) -> None:
        self.trusted = trusted
        self._test_cluster = test_cluster
        self._limits = limits
        self._threshold = threshold
        self._governance = governance_keys(trusted)
        self._specs: dict[tuple[str, int], tuple[Measurement, bytes, int]] = {}
        self._approved: dict[bytes, Approved] = {}
        self._revocations: dict[bytes, dict[int, Revocation]] = {}
        self._epochs: dict[tuple[str, int], EpochPublicKey] = {}
        self._wrapped: dict[tuple[str, bytes, str, str, int], WrappedKey] = {}
        self._destroyed: dict[tuple[str, KeyKind, int], KeyDestroyed] = {}
        self.layouts = Layouts()
        """How roles are divided among workers."""
        self.skips = Skips()
        """What operators have given up of stopped partitions."""
        self.version = 0
        """Rises whenever the set of approved measurements changes, or one of them is revoked."""
        self.measurements_offset = 0
        """The next offset of `measurements`: everything before it has been applied."""
        self.refused = 0
        """Control records that were not accepted."""
        self.catch_up: Callable[[], None] = lambda: None
        """Reads both topics to their present end; set by whoever feeds this object."""

    @classmethod
    def of(cls, trusted: Trusted, settings: Settings) -> ControlPlane:
        """An empty view under a deployment's settings.

        Raises:
            SettingsError: more approvals are demanded than there are governance keys.
        """
        threshold = settings.keys.governance_threshold
        if threshold > len(trusted.governance):
            raise SettingsError(
                f"keys.governance_threshold is {threshold}, but trusted.json pins only {len(trusted.governance)} "
                "governance keys: nothing could ever be approved. Lower the threshold, or make keys with "
                "`evenstream keys init --reviewers N`"
            )
        return cls(trusted, test_cluster=settings.test_cluster, limits=limits_of(settings), threshold=threshold)

    # -- measurements ---------------------------------------------------------------------------------------------

    def apply_measurement(self, offset: int, value: bytes | None) -> None:
        """Take in one record of `measurements`. What is not in order is inert: counted, logged, without effect."""
        self.measurements_offset = max(self.measurements_offset, offset + 1)
        if value is None:
            return
        try:
            if is_revocation(value):
                self.revoke(Revocation.decode(value))
            elif is_skip(value):
                self.skip(Skip.decode(value))
            else:
                signed = SignedMeasurement.decode(value)
                self.admit(self.verify(signed), signed.spec_digest(), offset)
        except (ApprovalError, MeasurementError, RegistryBudgetError, RevocationError, SkipInvalid) as error:
            self.refused += 1
            log.error("measurement record at offset %d has no effect: %s", offset, error)

    def verify(self, signed: SignedMeasurement) -> Measurement:
        """The spec, or ``ApprovalError`` or ``MeasurementError`` where it was not approved for this deployment."""
        return verify(
            signed,
            deployment=self.trusted.deployment,
            governance_keys=self._governance,
            threshold=self._threshold,
            test_cluster=self._test_cluster,
        )

    def admit(self, measurement: Measurement, spec: bytes, offset: int) -> None:
        """Take in a verified spec, or raise ``ApprovalError`` or ``RegistryBudgetError`` where it does not fit."""
        key = (measurement.id, measurement.revision)
        known = self._specs.get(key)
        if known is not None:
            if known[1] != spec:
                raise ApprovalError(
                    f"revision {measurement.revision} of {measurement.id!r} is already approved with other contents; "
                    "raise the revision number"
                )
            return
        if measurement.effective_from_ms is None:
            raise ApprovalError(f"{measurement.id!r} has no effective_from; `evenstream measurement propose` sets it")
        for other, _, _ in self._specs.values():
            if other.source.topic == measurement.source.topic and other.source.arrival != measurement.source.arrival:
                raise ApprovalError(
                    f"{measurement.id!r} reads {measurement.source.topic!r} with arrival "
                    f"{measurement.source.arrival!r}, but {other.id!r} reads it with {other.source.arrival!r}: "
                    "one topic has one notion of arrival"
                )
        revoked = revoked_at_ms(self._approved.values())
        if spec in self._revocations:
            revoked[key] = min(self._revocations[spec])
        check_registry_budget([*(known for known, _, _ in self._specs.values()), measurement], self._limits, revoked)
        self._specs[key] = (measurement, spec, offset)
        self._rebuild()
        standing = "approved, but revoked" if spec in self._revocations else "approved"
        log.info("measurement %s revision %d %s", measurement.id, measurement.revision, standing)

    def revoke(self, revocation: Revocation) -> None:
        """Take in a revocation, or raise ``RevocationError`` where no governance key signed it for this deployment.

        It may come before its spec, which is then revoked from the start. Of several of a spec that with the earliest
        ``at_ms`` stands: else one that is dated far ahead would leave published what a later one is to withdraw.
        """
        revocation.verify(deployment=self.trusted.deployment, governance_keys=self._governance)
        known = self._revocations.setdefault(revocation.spec, {})
        if revocation.at_ms in known:
            return
        known[revocation.at_ms] = revocation
        if revocation.spec in self._approved:
            self._rebuild()
        log.warning(
            "measurement %s revision %d is revoked by governance key %s",
            revocation.measurement,
            revocation.revision,
            revocation.key_id,
        )

    def skip(self, skip: Skip) -> None:
        """Take in a skip record, or raise ``SkipInvalid`` where no operator key signed it for this deployment."""
        skip.verify(deployment=self.trusted.deployment, operator_keys=operator_keys(self.trusted))
        if self.skips.add(skip):
            log.warning(
                "operator key %s gives up batches of %s [%d], and the windows that they touch",
                skip.key_id,
                skip.topic,
                skip.partition,
            )

    def revocation(self, spec: bytes) -> Revocation | None:
        """Who stopped the revision with this spec digest, when and why, the earliest; None while it stands."""
        known = self._revocations.get(spec)
        return None if known is None else known[min(known)]

    def revocation_moments(self, spec: bytes) -> list[int]:
        """``at_ms`` of all its revocations, in order."""
        return sorted(self._revocations.get(spec, ()))

    def _rebuild(self) -> None:
        self._approved.clear()
        for measurement, spec, offset in self._specs.values():
            begin = measurement.effective_from_ms
            assert begin is not None  # admit refuses specs without it
            later = [
                other.effective_from_ms
                for other, _, _ in self._specs.values()
                if other.id == measurement.id
                and other.revision > measurement.revision
                and other.effective_from_ms is not None
            ]
            until = min([*later, FOREVER_MS if measurement.expires_ms is None else measurement.expires_ms])
            revocation = self.revocation(spec)
            self._approved[spec] = Approved(
                measurement,
                spec,
                source_digest(measurement.source.topic),
                begin,
                until,
                offset,
                None if revocation is None else revocation.at_ms,
            )
        self.version += 1

    def read_through(self, offset: int) -> None:
        """Know all of `measurements` before this offset, as a sender has said that it does.

        Raises:
            ProtocolStop: the topic does not hold that much.
        """
        if self.measurements_offset < offset:
            self.catch_up()
        if self.measurements_offset < offset:
            raise ProtocolStop(
                f"a sender has read `measurements` up to offset {offset}, and here it ends at "
                f"{self.measurements_offset}: the two do not read the same topic"
            )

    def approved(self) -> Iterator[Approved]:
        """All approved revisions, in the order of their approval."""
        yield from sorted(self._approved.values(), key=lambda approved: approved.offset)

    def find(self, spec: bytes) -> Approved | None:
        """The revision with this spec digest; reads on to the end of `measurements` before it says None."""
        if spec not in self._approved:
            self.catch_up()
        return self._approved.get(spec)

    def require(self, spec: bytes) -> Approved:
        """The revision with this spec digest, or :class:`ProtocolStop`: what was signed for it cannot be judged."""
        approved = self.find(spec)
        if approved is None:
            raise ProtocolStop("a batch was signed for a revision of a measurement that is not approved")
        return approved

    # -- keys -----------------------------------------------------------------------------------------------------

    def apply_key(self, value: bytes | None) -> None:
        """Take in one record of `keys`. What is not signed by the role it names is counted and without effect."""
        if value is None:
            return
        record: EpochKey | WrappedKey | KeyDestroyed
        try:
            if frame.kind_of(value) is Kind.LAYOUT:
                self._apply_layout(value)
                return
            if frame.kind_of(value) is Kind.KEY_DESTROYED:
                record = decode_key_destroyed(value, self.trusted.identities)
            else:
                record = decode_key_record(value, self.trusted.identities)
        except (RecordMalformed, SignatureInvalid) as error:
            self.refused += 1
            log.error("key record has no effect: %s", error)
            return
        if isinstance(record, KeyDestroyed):
            self._take_in_destroyed(record)
        elif isinstance(record, EpochKey):
            if self.destroyed(record.role, "epoch", record.epoch) is None:
                self._epochs[record.role, record.epoch] = record.public()
        elif self.destroyed(record.recipient, "epoch", record.epoch) is None:
            key = (record.sender, record.process, record.purpose, record.recipient, record.epoch)
            self._wrapped[key] = record

    def _apply_layout(self, value: bytes) -> None:
        self.layouts.take_in(decode_layout(value, self.trusted.identities), value)

    def layout(self, role: str) -> Layout:
        """Into how many shards a role is divided now, and was before; generation 0 where none was ever written."""
        return self.layouts.of(role)

    def _take_in_destroyed(self, record: KeyDestroyed) -> None:
        """The first word stands. Nobody seals to that epoch any more, and what was wrapped for it opens nowhere."""
        self._destroyed.setdefault((record.role, record.kind, record.number), record)
        if record.kind == "epoch":
            self._epochs.pop((record.role, record.number), None)
            for key in [key for key in self._wrapped if key[3:] == (record.role, record.number)]:
                del self._wrapped[key]

    def destroyed(self, role: str, kind: KeyKind, number: int) -> KeyDestroyed | None:
        """What a role has said of a key that it destroyed; None where it has not."""
        return self._destroyed.get((role, kind, number))

    def wrapped_to(self, recipient: str, epoch: int) -> list[WrappedKey]:
        """All known keys that were wrapped for one epoch."""
        return [record for key, record in self._wrapped.items() if key[3:] == (recipient, epoch)]

    def epoch_public(self, role: str, now_ms: int, *, margin_ms: int = 0) -> EpochPublicKey | None:
        """The newest epoch of ``role`` that a sender may use at ``now_ms`` and for ``margin_ms`` after it."""
        usable = [
            key for (owner, _), key in self._epochs.items() if owner == role and key.not_after_ms > now_ms + margin_ms
        ]
        return max(usable, key=lambda key: key.epoch, default=None)

    def wrapped(self, sender: str, process: bytes, purpose: str, recipient: str, epoch: int) -> WrappedKey | None:
        """A wrapped data key; reads on to the end of `keys` before it says None."""
        key = (sender, process, purpose, recipient, epoch)
        if key not in self._wrapped:
            self.catch_up()
        return self._wrapped.get(key)

    def wrapped_for(self, purpose: str, recipient: str) -> Iterator[WrappedKey]:
        """All known keys of one purpose for one recipient, newest epoch first."""
        found = [
            record for record in self._wrapped.values() if (record.purpose, record.recipient) == (purpose, recipient)
        ]
        yield from sorted(found, key=lambda record: record.epoch, reverse=True)
