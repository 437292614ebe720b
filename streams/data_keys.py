"""Data keys at both ends: made and wrapped by senders, looked up and opened by recipients.

The sender announces a wrapped key on `keys`, and waits for the acknowledgement, before the first batch that uses it.
A recipient holds only its own epochs' private keys, and asks only for channels that end at itself: there is no way to
ask this class for an envelope addressed to another role.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from secure_agg import Channel, DataKey, EnvelopeUnreadable, EpochKeys, EpochPublicKey, Identity
from secure_agg.envelopes import fresh_key, wrap
from streams.control import ControlPlane
from streams.errors import RecipientAbsent
from streams.records.keys import KeyRecord, WrappedKey, sign_wrapped_key, wrapping_context

PROCESS_BYTES = 8
_MARGIN_MS = 5_000


class SendingKeys:
    """A sender's data keys, one for each purpose, recipient and recipient epoch.

    Args:
        identity: the sender's identity.
        control: where recipients' epochs are read.
        announce: writes a record to `keys` and returns when it is durable.
    """

    def __init__(self, identity: Identity, control: ControlPlane, announce: Callable[[KeyRecord], None]) -> None:
        self.process = os.urandom(PROCESS_BYTES)
        self._identity = identity
        self._control = control
        self._announce = announce
        self._keys: dict[tuple[str, str, int], tuple[DataKey, int]] = {}

    def missing(self, recipients: tuple[str, ...], now_ms: int) -> tuple[str, ...]:
        """The recipients that have no usable epoch key at ``now_ms``. A sender pauses while there are any."""
        # The margin is for what a sender does before it asks again: what it has begun, it can finish.
        self.forget_ended(now_ms)
        find = self._control.epoch_public
        return tuple(role for role in recipients if find(role, now_ms, margin_ms=_MARGIN_MS) is None)

    def current(self, purpose: str, recipient: str, now_ms: int) -> tuple[DataKey, int]:
        """The data key for the recipient's newest epoch, and that epoch's number.

        Raises:
            RecipientAbsent: the recipient has no usable epoch; ask :meth:`missing` first.
        """
        public = self._control.epoch_public(recipient, now_ms)
        if public is None:
            raise RecipientAbsent(f"role {recipient!r} has announced no epoch key that is valid now; start that role")
        slot = (purpose, recipient, public.epoch)
        if slot not in self._keys:
            key = fresh_key(Channel(self._identity.deployment, purpose, self._identity.role, recipient))
            self._hand_over(key, public)
        return self._keys[slot][0], public.epoch

    def share_secret(self, purpose: str, recipient: str, secret: bytes, now_ms: int) -> bool:
        """Hand a given 32-byte secret to the recipient's newest epoch, once; False while it has no usable epoch."""
        self.forget_ended(now_ms)
        public = self._control.epoch_public(recipient, now_ms)
        if public is None:
            return False
        slot = (purpose, recipient, public.epoch)
        if slot not in self._keys:
            key = DataKey(Channel(self._identity.deployment, purpose, self._identity.role, recipient), secret)
            self._hand_over(key, public)
        return True

    def forget_ended(self, now_ms: int) -> None:
        """Drop the data keys of epochs that have ended: a sender's copy opens the same rows as the recipient's key."""
        ended = [slot for slot, (_, not_after_ms) in self._keys.items() if not_after_ms <= now_ms]
        for slot in ended:
            del self._keys[slot]

    def _hand_over(self, key: DataKey, public: EpochPublicKey) -> None:
        wrapped = wrap(key.secret, public.kem_public, key.channel, wrapping_context(self.process, public.epoch))
        record = WrappedKey(
            self._identity.role,  # type: ignore[arg-type]  # Channel has checked the three names
            self.process,
            key.channel.recipient,  # type: ignore[arg-type]
            public.epoch,
            key.channel.purpose,  # type: ignore[arg-type]
            wrapped,
        )
        self._announce(sign_wrapped_key(self._identity, record))
        # The epoch that this one follows is not used again: its key goes now, and not only when that epoch ends.
        channel = (key.channel.purpose, key.channel.recipient)
        self._keys = {slot: kept for slot, kept in self._keys.items() if slot[:2] != channel}
        self._keys[*channel, public.epoch] = (key, public.not_after_ms)


class ReceivingKeys:
    """A recipient's data keys, opened with the private keys of its own epochs and of no others."""

    def __init__(self, role: str, deployment: str, control: ControlPlane, epochs: EpochKeys) -> None:
        self._role = role
        self._deployment = deployment
        self._control = control
        self._epochs = epochs
        self._keys: dict[tuple[str, str, bytes, int], DataKey] = {}

    def find(self, purpose: str, sender: str, process: bytes, epoch: int) -> DataKey:
        """The data key of one sender process, for this recipient.

        Raises:
            EnvelopeUnreadable: no such key was announced, or this epoch's private key is gone.
        """
        slot = (purpose, sender, process, epoch)
        key = self._keys.get(slot)
        if key is None:
            record = self._control.wrapped(sender, process, purpose, self._role, epoch)
            if record is None:
                raise EnvelopeUnreadable(
                    f"no {purpose} key from {sender!r} for epoch {epoch} of {self._role!r} is on the keys topic"
                )
            channel = Channel(self._deployment, purpose, sender, self._role)
            key = self._epochs.private(epoch).unwrap(record.wrapped, channel, record.context())
            self._keys[slot] = key
        return key

    def destroy_ended(self, clock_ms: int | None) -> None:
        """Destroy the epochs that every sender's clock has passed, with their data keys (None: not all were heard)."""
        if clock_ms is not None:
            self.forget(self._epochs.destroy_ended(clock_ms))

    def ends(self) -> tuple[int, ...]:
        """When the epochs end that still exist, in order (epoch milliseconds)."""
        return self._epochs.ends()

    def drop_destroyed(self) -> None:
        """Let go of the epochs that another worker of this role has destroyed, with their data keys."""
        self.forget(self._epochs.drop_destroyed())

    def forget(self, epochs: tuple[int, ...]) -> None:
        """Drop the data keys of destroyed epochs: they open the same rows as the epoch's private key."""
        self._keys = {slot: key for slot, key in self._keys.items() if slot[3] not in epochs}
