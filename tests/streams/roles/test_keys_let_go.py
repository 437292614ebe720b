"""What a role's process does with keys that were destroyed: says so, and holds them no longer, at work or not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from known_records import TRUSTED, identity

from secure_agg import EnvelopeUnreadable, EpochKeys, StateKeys
from streams.data_keys import ReceivingKeys
from streams.records.destroyed import decode_key_destroyed
from streams.records.keys import KeyRecord
from streams.roles.process import RoleProcess

LIFETIME_MS = 1000
START_MS = 1_764_000_000_000


def test_a_worker_without_a_part_forgets_what_others_destroy(tmp_path: Path) -> None:
    """It was started ahead and stands by, with the role's keys in memory: they go with those of the others."""
    mine, theirs = (EpochKeys("attach", tmp_path / "epochs", LIFETIME_MS) for _ in range(2))
    number = theirs.ensure_current(START_MS).number
    mine.private(number)
    states = StateKeys(tmp_path / "state", LIFETIME_MS)
    states.ensure_current(START_MS)
    other = StateKeys(tmp_path / "state", LIFETIME_MS)
    newest = other.ensure_current(START_MS + LIFETIME_MS).number
    control: Any = None
    process: Any = SimpleNamespace(state_keys=states)
    theirs.destroy_ended(START_MS + LIFETIME_MS)
    other.passed("0-of-1", newest, ("0-of-1",))
    RoleProcess.let_go(process, ReceivingKeys("attach", "t", control, mine))
    assert mine.numbers() == ()
    with pytest.raises(EnvelopeUnreadable):
        mine.private(number)
    assert states.numbers() == (newest,)


def test_the_word_comes_after_the_tombstones(tmp_path: Path) -> None:
    """A crash between them leaves no wrapped key on the topic for ever: whoever has read the word knows of none."""
    epochs = EpochKeys("attach", tmp_path, LIFETIME_MS)
    number = epochs.ensure_current(START_MS).number
    epochs.destroy_ended(START_MS + LIFETIME_MS)
    said: list[KeyRecord] = []
    wrapped = SimpleNamespace(topic_key=lambda: b"data/seal/x")
    process: Any = SimpleNamespace(
        role="attach",
        keys=SimpleNamespace(identity=identity("attach")),
        settings=SimpleNamespace(topic=lambda name: name),
        health=SimpleNamespace(oldest_key=lambda kind, seconds: None, key_lifetime=lambda kind, seconds: None),
        control=SimpleNamespace(wrapped_to=lambda role, epoch: [wrapped]),
        reader=SimpleNamespace(announce=lambda *records: said.extend(records)),
    )
    RoleProcess._announce_destroyed(process, "epoch", epochs, START_MS)
    tombstone, word = said
    assert tombstone == KeyRecord(b"data/seal/x", None)
    assert word.value is not None
    assert decode_key_destroyed(word.value, TRUSTED).number == number
    assert epochs.unannounced() == ()
