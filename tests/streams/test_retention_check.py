"""The check: under which keys records lie, the oldest of each topic, and what opens that should not."""

from __future__ import annotations

import json
from collections.abc import Iterator

from known_records import EXTENSION, HEADER, TRUSTED, identity, later, passed_on, sealed, shares, told

from streams.inprocess import MemoryRecord
from streams.records import frame
from streams.records.destroyed import KeyDestroyed, KeyKind
from streams.retention_check import KeyName, Limits, as_json, check, keys_of
from streams.state import StateCodec

NOW = 1_764_000_000_000
LIMITS = Limits.at(NOW, 10_000, 4_000, 1_000)
STATIC = StateCodec(bytes(32), "a").encode(b"position/0", [1])
NUMBERED = (77).to_bytes(8, "little") + bytes(40)


class Topics:
    """Topics in memory, and what roles have said of their keys."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[MemoryRecord]] = {}
        self.words: dict[tuple[str, KeyKind, int], KeyDestroyed] = {}
        self.looked = 0

    def put(self, topic: str, partition: int, age_ms: int, value: bytes | None) -> None:
        """A record of this age."""
        records = self.records.setdefault((topic, partition), [])
        records.append(MemoryRecord(topic, partition, len(records) + 100, b"k", value, (1, NOW - age_ms)))

    def destroyed(self, role: str, kind: KeyKind, *numbers: int) -> None:
        """A role's word."""
        for number in numbers:
            self.words[role, kind, number] = KeyDestroyed(role, kind, number, NOW)  # type: ignore[arg-type]

    def read(self, topic: str, partition: int) -> Iterator[MemoryRecord]:
        """What is looked at."""
        for record in self.records.get((topic, partition), []):
            self.looked += 1
            yield record

    def check(self, **partitions: int):  # type: ignore[no-untyped-def]  # what `check` gives
        """Run the check on topics with so many partitions."""
        names = {name.replace("_", "-"): count for name, count in partitions.items()}
        return check(names, self.read, lambda *key: self.words.get(key), LIMITS)


def test_a_record_names_its_keys_in_the_clear() -> None:
    """Batches by their recipients' epochs, state by its number; what holds nothing of anyone names none."""
    assert keys_of("sealed", sealed().encode()) == {
        KeyName("attach", "epoch", HEADER.attach_epoch),
        KeyName("a", "epoch", HEADER.a_epoch),
        KeyName("b", "epoch", HEADER.b_epoch),
    }
    assert keys_of("shares", shares().encode()) == {
        KeyName(party, "epoch", number)
        for party, numbers in (("a", (HEADER.a_epoch, EXTENSION.a_epoch)), ("b", (HEADER.b_epoch, EXTENSION.b_epoch)))
        for number in numbers
    }
    assert keys_of("state-a", NUMBERED) == {KeyName("a", "state", 77)}
    assert keys_of("state-a", STATIC) == {KeyName("a", "state", 0)}
    for value in (None, b"", b"rubbish", told().encode(), passed_on().encode()):
        assert keys_of("shares", value) == frozenset()
    assert keys_of("state-a", None) == frozenset()


def test_the_oldest_record_and_its_keys() -> None:
    """Over all partitions, punctuation left out; what was destroyed is told from what is still there."""
    topics = Topics()
    topics.put("sealed", 0, 9_000, told().encode())
    topics.put("sealed", 0, 6_000, sealed().encode())
    topics.put("sealed", 1, 8_000, sealed().encode())
    topics.destroyed("attach", "epoch", HEADER.attach_epoch)
    found = topics.check(sealed=2, shares=1)
    oldest = found.oldest["sealed"]
    assert (oldest.partition, oldest.offset, oldest.time_ms) == (1, 100, NOW - 8_000)
    assert oldest.keys == {
        KeyName("attach", "epoch", HEADER.attach_epoch): NOW,
        KeyName("a", "epoch", HEADER.a_epoch): None,
        KeyName("b", "epoch", HEADER.b_epoch): None,
    }
    assert "shares" not in found.oldest
    assert found.openable == []


def test_what_is_too_old_and_opens_is_found() -> None:
    """Each key once, with the oldest record and how many; a key that was destroyed is none."""
    topics = Topics()
    for age in (30_000, 20_000, 16_000, 15_000):  # the limit is 1.5 lifetimes and the allowance: 16 s
        topics.put("sealed", 0, age, sealed().encode())
    topics.put("sealed", 1, 40_000, sealed().encode())
    topics.destroyed("attach", "epoch", HEADER.attach_epoch)
    topics.destroyed("a", "epoch", HEADER.a_epoch)
    (entry,) = topics.check(sealed=2).openable
    assert (entry.key, entry.count) == (KeyName("b", "epoch", HEADER.b_epoch), 4)
    assert (entry.partition, entry.offset, entry.time_ms) == (1, 100, NOW - 40_000)
    topics.destroyed("b", "epoch", HEADER.b_epoch)
    assert topics.check(sealed=2).openable == []


def test_state_has_a_limit_of_its_own() -> None:
    """By its own lifetime; a value of a version without numbers opens as long as state.key is there."""
    topics = Topics()
    topics.put("state-a", 0, 7_500, STATIC)
    topics.put("state-a", 0, 7_200, NUMBERED)
    topics.put("state-a", 0, 6_900, NUMBERED)
    topics.destroyed("a", "state", 77)
    (entry,) = topics.check(state_a=1).openable
    assert str(entry.key) == "a's state.key"
    topics.destroyed("b", "state", 0)
    assert topics.check(state_a=1).openable


def test_it_looks_no_further_than_it_must() -> None:
    """Records younger than the limit are left unread, but for the first."""
    topics = Topics()
    for age in range(5_000, 0, -10):
        topics.put("sealed", 0, age, sealed().encode())
    found = topics.check(sealed=1)
    assert topics.looked == 2
    assert found.oldest["sealed"].time_ms == NOW - 5_000


def test_json_says_the_same() -> None:
    """For machines: in order or not, the oldest and what opens."""
    topics = Topics()
    topics.put("state-b", 0, 99_000, NUMBERED)
    said = json.loads(json.dumps(as_json(topics.check(state_b=1), LIMITS)))
    assert said["in_order"] is False
    assert said["openable"][0] | {"offset": 100} == {
        "topic": "state-b", "role": "b", "kind": "state", "number": 77, "records": 1, "partition": 0, "offset": 100,
        "time_ms": NOW - 99_000,
    }  # fmt: skip
    assert said["oldest"][0]["keys"] == [{"role": "b", "kind": "state", "number": 77, "destroyed_ms": None}]


def test_what_it_cannot_read_is_not_called_gone() -> None:
    """A batch of a later version, signed by its writer, may hold anyone; what nobody signed holds nobody."""
    topics = Topics()
    topics.put("sealed", 0, 30_000, later(identity("seal"), frame.Kind.SEALED))
    topics.put("sealed", 0, 20_000, later(identity("attach"), frame.Kind.SEALED))

    def newer(topic: str, value: bytes) -> bool:
        return frame.is_newer(value, "seal", TRUSTED)

    found = check({"sealed": 1}, topics.read, lambda *key: None, LIMITS, is_newer=newer)
    assert (found.newer, found.openable, found.oldest) == ({"sealed": 1}, [], {})
    assert not found.in_order
    assert as_json(found, LIMITS)["in_order"] is False
