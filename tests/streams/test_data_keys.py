"""Data keys at both ends: announced before they are used, opened by their recipient and by no one else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from known_records import DEPLOYMENT, TRUSTED, identity

from privacy import Limits
from secure_agg import EnvelopeUnreadable, EpochKeys, Trusted
from streams.control import ControlPlane
from streams.data_keys import PROCESS_BYTES, ReceivingKeys, SendingKeys
from streams.errors import RecipientAbsent
from streams.records.destroyed import sign_key_destroyed
from streams.records.keys import KeyRecord, sign_epoch_key

LIFETIME_MS = 100_000
NOW = 1_000_000


class Bench:
    """Senders and recipients around one `keys` topic."""

    def __init__(self, folder: Path) -> None:
        self.control = ControlPlane(Trusted(DEPLOYMENT, TRUSTED, ()), test_cluster=False, limits=Limits.of_day(1.0))
        self.announced: list[KeyRecord] = []
        self.epochs = {role: EpochKeys(role, folder / role, LIFETIME_MS) for role in ("attach", "a", "b")}

    def begin(self, role: str, now_ms: int = NOW) -> int:
        """Have a recipient announce an epoch that is good at ``now_ms``; its number."""
        epoch = self.epochs[role].ensure_current(now_ms)
        self.announce(sign_epoch_key(identity(role), epoch.public()))
        return epoch.number

    def announce(self, record: KeyRecord) -> None:
        """Write to `keys`, and have everyone read it."""
        self.announced.append(record)
        self.control.apply_key(record.value)

    def sender(self, role: str) -> SendingKeys:
        """A process of a sending role."""
        return SendingKeys(identity(role), self.control, self.announce)

    def recipient(self, role: str, *, deployment: str = DEPLOYMENT) -> ReceivingKeys:
        """A process of a receiving role, which holds that role's epochs only."""
        return ReceivingKeys(role, deployment, self.control, self.epochs[role])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty `keys` topic, and epochs that nobody has begun."""
    return Bench(tmp_path)


ROUTES = [
    ("seal", "members", "attach"),
    ("seal", "cells", "a"),
    ("seal", "cells", "b"),
    ("attach", "share", "a"),
    ("attach", "share", "b"),
    ("a", "coverage", "b"),
]


@pytest.mark.parametrize(("sender", "purpose", "recipient"), ROUTES)
def test_what_is_sealed_is_opened(bench: Bench, sender: str, purpose: str, recipient: str) -> None:
    """On each of the six channels the recipient finds the sender's key and opens what it sealed."""
    epoch = bench.begin(recipient)
    sending = bench.sender(sender)
    key, used = sending.current(purpose, recipient, NOW)
    assert used == epoch
    found = bench.recipient(recipient).find(purpose, sender, sending.process, used)
    assert found.open(key.seal(b"rows", b"header"), b"header") == b"rows"


def test_a_key_is_announced_before_it_is_used_and_only_once(bench: Bench) -> None:
    """The record is on `keys`, acknowledged, when the sender gets its key; batches after it use the same one."""
    bench.begin("a")
    sending = bench.sender("seal")
    first, _ = sending.current("cells", "a", NOW)
    assert [record.key.split(b"/")[0] for record in bench.announced] == [b"epoch", b"data"]
    again, _ = sending.current("cells", "a", NOW + 1)
    assert again is first
    assert len(bench.announced) == 2
    assert first.secret not in bench.announced[1].value


def test_a_key_that_could_not_be_announced_is_not_kept(bench: Bench) -> None:
    """Where writing to `keys` fails, the next attempt announces again: no batch goes out under an unknown key."""
    bench.begin("a")
    failures: list[Callable[[KeyRecord], None]] = [bench.announce]

    def announce(record: KeyRecord) -> None:
        if len(failures) == 1:
            failures.append(bench.announce)
            raise ConnectionError
        bench.announce(record)

    sending = SendingKeys(identity("seal"), bench.control, announce)
    with pytest.raises(ConnectionError):
        sending.current("cells", "a", NOW)
    key, epoch = sending.current("cells", "a", NOW)
    found = bench.recipient("a").find("cells", "seal", sending.process, epoch)
    assert found.secret == key.secret


def test_every_process_purpose_and_recipient_has_keys_of_its_own(bench: Bench) -> None:
    """No two channels share a key, and neither do two processes of one role."""
    for role in ("attach", "a", "b"):
        bench.begin(role)
    sealing = [bench.sender("seal"), bench.sender("seal")]
    assert len({sending.process for sending in sealing}) == 2
    assert all(len(sending.process) == PROCESS_BYTES for sending in sealing)
    keys = [
        sending.current(purpose, recipient, NOW)[0].secret
        for sending in sealing
        for purpose, recipient in (("members", "attach"), ("cells", "a"), ("cells", "b"))
    ]
    assert len(set(keys)) == 6


def test_a_new_epoch_gets_a_new_key(bench: Bench) -> None:
    """When a recipient begins an epoch, senders change to it, and what it destroys later opens nothing new."""
    first = bench.begin("a")
    sending = bench.sender("seal")
    old, used = sending.current("cells", "a", NOW)
    assert used == first
    second = bench.begin("a", NOW + LIFETIME_MS * 3 // 4)
    new, used = sending.current("cells", "a", NOW + LIFETIME_MS * 3 // 4)
    assert used == second > first
    assert new.secret != old.secret


@pytest.mark.parametrize("other", ["attach", "b"])
def test_another_role_cannot_open_it(bench: Bench, other: str) -> None:
    """A role that asks for a channel that ends elsewhere is told that there is none, or finds no key."""
    for role in ("attach", "a", "b"):
        bench.begin(role)
    sending = bench.sender("seal")
    _, epoch = sending.current("cells", "a", NOW)
    with pytest.raises(EnvelopeUnreadable, match="on the keys topic"):
        bench.recipient(other).find("cells", "seal", sending.process, epoch)
    # Even with a's record in hand and its own epoch of the same number, the private key is another one.
    stolen = ReceivingKeys("a", DEPLOYMENT, bench.control, bench.epochs[other])
    with pytest.raises(EnvelopeUnreadable, match="does not open"):
        stolen.find("cells", "seal", sending.process, epoch)


def test_the_wrapping_binds_deployment_process_and_epoch(bench: Bench) -> None:
    """A wrapped key that is presented under another deployment, process or epoch does not open."""
    epoch = bench.begin("a")
    sending = bench.sender("seal")
    sending.current("cells", "a", NOW)
    with pytest.raises(EnvelopeUnreadable, match="does not open"):
        bench.recipient("a", deployment="elsewhere").find("cells", "seal", sending.process, epoch)
    (record,) = bench.control.wrapped_for("cells", "a")
    for process, number in ((b"another1", epoch), (sending.process, bench.begin("a", NOW + LIFETIME_MS))):
        bench.control._wrapped["seal", process, "cells", "a", number] = type(record)(
            record.sender, process, record.recipient, number, record.purpose, record.wrapped
        )
        with pytest.raises(EnvelopeUnreadable, match="does not open"):
            bench.recipient("a").find("cells", "seal", process, number)


def test_an_unannounced_key_is_named(bench: Bench) -> None:
    """A batch under a key that nobody announced cannot be opened, after `keys` has been read to its end."""
    epoch = bench.begin("a")
    asked: list[int] = []
    bench.control.catch_up = lambda: asked.append(1)
    with pytest.raises(EnvelopeUnreadable, match="no cells key from 'seal' for epoch"):
        bench.recipient("a").find("cells", "seal", bytes(8), epoch)
    assert asked == [1]


def test_a_destroyed_epoch_is_forgotten(bench: Bench) -> None:
    """After its end an epoch's private key is gone, and the data keys that it opened are dropped with it."""
    bench.begin("a")
    sending = bench.sender("seal")
    _, epoch = sending.current("cells", "a", NOW)
    receiving = bench.recipient("a")
    receiving.find("cells", "seal", sending.process, epoch)
    ended = bench.epochs["a"].destroy_ended(NOW + LIFETIME_MS)
    assert ended == (epoch,)
    assert receiving.find("cells", "seal", sending.process, epoch)  # still in memory: that is why it must be told
    receiving.forget(ended)
    with pytest.raises(EnvelopeUnreadable, match="holds no private key"):
        receiving.find("cells", "seal", sending.process, epoch)


def test_forgetting_one_epoch_leaves_the_others(bench: Bench) -> None:
    """Only the data keys of destroyed epochs are dropped."""
    sending, receiving = bench.sender("seal"), bench.recipient("a")
    used = []
    for later in (0, LIFETIME_MS):
        bench.begin("a", NOW + later)
        used.append(sending.current("cells", "a", NOW + later)[1])
        receiving.find("cells", "seal", sending.process, used[-1])
    receiving.forget((used[0],))
    assert [slot[3] for slot in receiving._keys] == [used[1]]


def test_a_sender_without_a_recipient_waits(bench: Bench) -> None:
    """While an epoch is missing or has ended, the sender is told whose, and asking for a key for it raises."""
    sending = bench.sender("seal")
    assert sending.missing(("attach", "a", "b"), NOW) == ("attach", "a", "b")
    bench.begin("a")
    assert sending.missing(("attach", "a", "b"), NOW) == ("attach", "b")
    with pytest.raises(RecipientAbsent, match="'attach'"):
        sending.current("members", "attach", NOW)
    assert sending.missing(("a",), NOW + LIFETIME_MS) == ("a",)
    with pytest.raises(RecipientAbsent, match="'a'"):
        sending.current("cells", "a", NOW + LIFETIME_MS)


def test_a_sender_stops_asking_before_an_epoch_ends(bench: Bench) -> None:
    """What is begun while no one is missing can be finished some seconds later, before the epoch's end."""
    bench.begin("a")
    sending = bench.sender("seal")
    last = max(now for now in range(NOW, NOW + LIFETIME_MS, 500) if not sending.missing(("a",), now))
    assert NOW + LIFETIME_MS - 10_000 < last < NOW + LIFETIME_MS - 2_000
    assert sending.current("cells", "a", last + 2_000)


def test_a_given_secret_is_handed_over_once_an_epoch(bench: Bench) -> None:
    """The coverage key is a's own; b finds just that one, in each epoch, and it is not sent again within one."""
    secret = bytes(range(32))
    sending = bench.sender("a")
    assert not sending.share_secret("coverage", "b", secret, NOW)
    for later in (0, LIFETIME_MS):
        epoch = bench.begin("b", NOW + later)
        before = len(bench.announced)
        assert sending.share_secret("coverage", "b", secret, NOW + later)
        assert sending.share_secret("coverage", "b", secret, NOW + later)
        assert len(bench.announced) == before + 1
        assert bench.recipient("b").find("coverage", "a", sending.process, epoch).secret == secret


@pytest.mark.parametrize(("role", "purpose", "recipient"), [("seal", "share", "a"), ("attach", "cells", "a"), ("seal", "cells", "attach"), ("b", "coverage", "a")])  # fmt: skip  # noqa: E501
def test_there_are_no_other_channels(bench: Bench, role: str, purpose: str, recipient: str) -> None:
    """A role cannot make a key for a purpose or recipient that the protocol does not give it."""
    bench.begin(recipient)
    with pytest.raises(ValueError, match="there is no"):
        bench.sender(role).current(purpose, recipient, NOW)


def test_a_sender_drops_the_keys_of_epochs_that_are_over(bench: Bench) -> None:
    """Its copy opens the same rows: it goes when a newer epoch is used, and at the latest when its own has ended."""
    sending = bench.sender("seal")
    bench.begin("a")
    first, epoch = sending.current("cells", "a", NOW)
    newer = bench.begin("a", NOW + LIFETIME_MS * 2 // 3)
    assert newer != epoch
    second, _ = sending.current("cells", "a", NOW + LIFETIME_MS * 2 // 3)
    assert [key for key, _ in sending._keys.values()] == [second] != [first]
    assert sending.missing(("a",), NOW + 3 * LIFETIME_MS) == ("a",)
    assert sending._keys == {}


def test_what_was_wrapped_for_a_destroyed_epoch_is_dropped(bench: Bench) -> None:
    """Once a recipient has said so nobody seals to that epoch or looks for its keys, also where they come again."""
    sending = bench.sender("seal")
    epoch = bench.begin("a")
    other = bench.begin("b")
    for party in ("a", "b"):
        sending.current("cells", party, NOW)
    bench.announce(sign_key_destroyed(identity("a"), "epoch", epoch, NOW))
    for record in bench.announced[:]:
        bench.announce(record)
    assert bench.control.wrapped_to("a", epoch) == []
    assert len(bench.control.wrapped_to("b", other)) == 1
    assert bench.control.epoch_public("a", NOW) is None
    assert sending.missing(("a", "b"), NOW) == ("a",)
