"""What anyone may read who has the public keys and may read the public topics; and up to where it was read.

Nothing here needs a private key, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Message

from secure_agg import Trusted
from secure_agg.keyring import load_trusted
from streams.control import ControlPlane
from streams.errors import InputError
from streams.kafka.clients import read_to_end
from streams.kafka.topics import configurations
from streams.settings import Settings


def trusted_keys(settings: Settings, path: Path | None) -> Trusted:
    """The public keys of a ``trusted.json``: the one that is named (or whose folder is), else that of ``keys.dir``.

    Raises:
        InputError: it belongs to another deployment. KeyFileError: it cannot be read.
    """
    folder = settings.keys.dir / "governance" if path is None else path.parent if path.name == "trusted.json" else path
    trusted = load_trusted(folder)
    if trusted.deployment != settings.deployment:
        raise InputError(
            f"{folder / 'trusted.json'} is of deployment {trusted.deployment!r}, but this is {settings.deployment!r}: "
            "set `deployment`, or name another file with --trusted"
        )
    return trusted


class PublicTopics:
    """Reads a deployment's public topics.

    Attributes:
        read: by a topic's short name, the offset after the last record that was read.
    """

    def __init__(self, settings: Settings, trusted: Trusted) -> None:
        self.settings = settings
        self.trusted = trusted
        self.read: dict[str, int] = {}

    def messages(self, name: str, *, isolation: str = "read_committed") -> Iterator[Message]:
        """Every record of a topic with one partition, in order.

        Raises:
            EvenstreamError: there is no such topic, or it cannot be read.
        """
        self.read.setdefault(name, 0)
        for message in read_to_end(self.settings, self.settings.topic(name), isolation=isolation):
            self.read[name] = int(message.offset() or 0) + 1
            yield message

    def records(self, name: str, *, isolation: str = "read_committed") -> Iterator[tuple[int, bytes]]:
        """The same, as (offset, value)."""
        for message in self.messages(name, isolation=isolation):
            yield int(message.offset() or 0), message.value() or b""

    def control(self) -> ControlPlane:
        """The registry of measurements as the topic holds it now."""
        control = ControlPlane.of(self.trusted, self.settings)
        for message in self.messages("measurements"):
            control.apply_measurement(int(message.offset() or 0), message.value())
        return control

    def add_keys(self, control: ControlPlane) -> ControlPlane:
        """Give a view what `keys` holds now: epochs, layouts, and the keys that roles say they have destroyed."""
        for message in self.messages("keys"):
            control.apply_key(message.value())
        return control

    def configurations(self, names: tuple[str, ...]) -> dict[str, dict[str, str]]:
        """What the cluster says of topics' properties, by short name; what it does not tell is left out.

        Raises:
            KafkaUnavailable: it did not answer.
        """
        full = {self.settings.topic(name): name for name in names}
        return {full[name]: config for name, config in configurations(self.settings, tuple(full)).items()}

    def ledger(self, party: str) -> list[tuple[int, bytes]]:
        """A party's ledger; what an aborted transaction left is no debit."""
        return list(self.records(f"ledger-{party}"))

    def releases(self, party: str) -> Iterator[tuple[int, bytes]]:
        """A party's releases, with what aborted transactions left: anyone can read that."""
        return self.records(f"releases-{party}", isolation="read_uncommitted")
