"""Epochs: found again after a restart, never used past their end, and destroyed when ended, those only."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import Channel, EnvelopeUnreadable, EpochKeys, EpochPublicKey, KeyFileError
from secure_agg.envelopes import wrap

LIFETIME_MS = 1000
START_MS = 1_764_000_000_000
CHANNEL = Channel("t", "members", "seal", "attach")


def attach(folder: Path, lifetime_ms: int = LIFETIME_MS) -> EpochKeys:
    """The epochs of a process of role `attach` that starts now."""
    return EpochKeys("attach", folder, lifetime_ms)


def files(folder: Path) -> set[str]:
    """What lies in the folder, but for the marks of what was destroyed and not announced."""
    return {path.name for path in folder.iterdir() if path.suffix != ".destroyed"}


def three(folder: Path) -> tuple[EpochKeys, list[int]]:
    """Epochs that end 1000, 1600 and 2200 ms after the start."""
    keys = attach(folder)
    return keys, [keys.ensure_current(START_MS + after).number for after in (0, 600, 1200)]


def refused(folder: Path) -> str:
    """The message with which a start is refused, after a search for keys in it and its traceback."""
    with pytest.raises(KeyFileError) as caught:
        attach(folder)
    text = "".join(traceback.format_exception(caught.value))
    for path in folder.glob("*.epoch"):
        content = path.read_bytes().decode("latin-1")
        assert len(content) < 40 or not any(content[at : at + 40] in text for at in range(len(content) - 39))
    return str(caught.value)


def test_an_epoch_is_stored_before_it_is_announced(tmp_path: Path) -> None:
    """When `ensure_current` returns, the key is in its own file, for its owner only, in a folder of its own."""
    folder = tmp_path / "state" / "epochs"
    epoch = attach(folder).ensure_current(START_MS)
    assert (epoch.number, epoch.not_after_ms) == (START_MS, START_MS + LIFETIME_MS)
    assert files(folder) == {f"{START_MS}.epoch"}
    assert stat.S_IMODE((folder / f"{START_MS}.epoch").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert epoch.public() == EpochPublicKey("attach", START_MS, START_MS + LIFETIME_MS, epoch.key.public_bytes())


def test_a_restart_finds_its_epochs(tmp_path: Path) -> None:
    """The next process has the same numbers and ends, opens what was wrapped for the last, and draws no new key."""
    first, numbers = three(tmp_path)
    current = first.ensure_current(START_MS + 1300)
    wrapped = wrap(bytes(32), current.public().kem_public, CHANNEL, b"context")
    second = attach(tmp_path)
    assert second.numbers() == first.numbers() == tuple(numbers)
    assert [second.private(n).raw for n in numbers] == [first.private(n).raw for n in numbers]
    assert second.private(numbers[-1]).unwrap(wrapped, CHANNEL, b"context").secret == bytes(32)
    assert second.ensure_current(START_MS + 1300) == current
    assert len(files(tmp_path)) == 3


def test_the_next_epoch_begins_at_half_of_the_last(tmp_path: Path) -> None:
    """With half its life left an epoch still serves; a millisecond later a second begins, and the first still opens."""
    keys = attach(tmp_path)
    first = keys.ensure_current(START_MS)
    assert keys.ensure_current(START_MS + 500) == first
    second = keys.ensure_current(START_MS + 501)
    assert (second.number, second.not_after_ms) == (START_MS + 501, START_MS + 1501)
    assert second.key.raw != first.key.raw
    assert keys.current(START_MS + 501) == second
    assert keys.private(first.number) == first.key


def test_a_sender_may_not_use_an_expired_epoch(tmp_path: Path) -> None:
    """An epoch is current until the millisecond before its end, and is never named from its end on."""
    keys, numbers = three(tmp_path)
    for number, end in zip(numbers, (1000, 1600, 2200), strict=True):
        alone = attach(tmp_path)
        for other in numbers:
            if other != number:
                del alone._epochs[other]
        last = alone.current(START_MS + end - 1)
        assert last is not None and last.number == number
        assert alone.current(START_MS + end) is None
    assert keys.current(START_MS + 2200) is None
    assert keys.ensure_current(START_MS + 2200).number == START_MS + 2200


def test_no_epoch_is_current_before_the_first(tmp_path: Path) -> None:
    """An empty folder holds nothing and is not an error."""
    keys = attach(tmp_path)
    assert keys.current(START_MS) is None
    assert keys.numbers() == keys.destroy_ended(START_MS) == ()


@pytest.mark.parametrize(
    ("clock", "gone"), [(0, 0), (999, 0), (1000, 1), (1599, 1), (1600, 2), (2199, 2), (2200, 3), (10**9, 3)]
)
def test_ended_epochs_are_destroyed_and_only_those(tmp_path: Path, clock: int, gone: int) -> None:
    """An epoch goes when the senders' clock has reached its end, not a millisecond before, and its file with it."""
    keys, numbers = three(tmp_path)
    kept = {number: keys.private(number) for number in numbers[gone:]}
    assert keys.destroy_ended(START_MS + clock) == tuple(numbers[:gone])
    assert files(tmp_path) == {f"{number}.epoch" for number in kept}
    for known in (keys, attach(tmp_path)):
        assert known.numbers() == tuple(kept)
        assert {number: known.private(number) for number in kept} == kept
        for number in numbers[:gone]:
            with pytest.raises(EnvelopeUnreadable, match=f"no private key for its epoch {number}"):
                known.private(number)
    assert keys.destroy_ended(START_MS + clock) == ()


def test_what_was_sent_to_a_destroyed_epoch_stays_shut(tmp_path: Path) -> None:
    """No key that is left, and none that is drawn later, opens a wrapping for an epoch that is gone."""
    keys = attach(tmp_path)
    wrapped = wrap(bytes(32), keys.ensure_current(START_MS).public().kem_public, CHANNEL, b"context")
    keys.ensure_current(START_MS + 600)
    keys.destroy_ended(START_MS + 1000)
    keys.ensure_current(START_MS + 1200)
    for number in keys.numbers():
        with pytest.raises(EnvelopeUnreadable):
            keys.private(number).unwrap(wrapped, CHANNEL, b"context")


def test_a_destroyed_file_is_overwritten_as_well(tmp_path: Path) -> None:
    """Whoever still has the file open reads as many bytes as before, and no digit run of the key among them."""
    keys = attach(tmp_path)
    epoch = keys.ensure_current(START_MS)
    path = tmp_path / f"{epoch.number}.epoch"
    size = path.stat().st_size
    with path.open("rb") as file:
        keys.destroy_ended(epoch.not_after_ms)
        left = file.read()
    assert len(left) == size
    assert epoch.key.raw.hex()[:16].encode() not in left
    assert b"not_after_ms" not in left


@pytest.mark.parametrize("killed_at", ["urandom", "fsync"])
def test_a_kill_while_destroying_does_not_stop_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """Wherever destruction is cut off, the next process starts, and either has the whole key still or not at all."""
    keys, numbers = three(tmp_path)
    before = keys.private(numbers[0])

    def kill(_: int) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, killed_at, kill)
        with pytest.raises(KeyboardInterrupt):
            keys.destroy_ended(START_MS + 1000)
    restarted = attach(tmp_path)
    assert set(numbers[1:]) <= set(restarted.numbers())
    assert numbers[0] not in restarted.numbers() or restarted.private(numbers[0]) == before
    restarted.destroy_ended(START_MS + 1000)
    assert files(tmp_path) == {f"{number}.epoch" for number in numbers[1:]}


def test_a_kill_while_storing_announces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that did not reach its file is not returned and not known; the next start ignores what is left."""
    keys = attach(tmp_path)

    def kill(_: int) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", kill)
        with pytest.raises(KeyboardInterrupt):
            keys.ensure_current(START_MS)
    assert keys.numbers() == attach(tmp_path).numbers() == ()
    again = attach(tmp_path)
    number = again.ensure_current(START_MS).number
    assert files(tmp_path) == {f"{number}.epoch"}


def test_a_key_whose_file_is_already_gone_is_forgotten(tmp_path: Path) -> None:
    """If the memory-backed folder was emptied, destruction still removes the key from this process."""
    keys, numbers = three(tmp_path)
    (tmp_path / f"{numbers[0]}.epoch").unlink()
    assert keys.destroy_ended(START_MS + 1000) == (numbers[0],)
    assert keys.numbers() == tuple(numbers[1:])


def test_numbers_rise_even_when_the_clock_does_not(tmp_path: Path) -> None:
    """An epoch that must begin in the same millisecond as one kept, or before it, gets a number above it."""
    keys, later = attach(tmp_path), START_MS
    for lifetime_ms, back in ((1000, 0), (5000, 0), (20_000, 3000)):
        keys = attach(tmp_path, lifetime_ms)  # a longer lifetime in the settings: what is kept no longer serves
        assert keys.ensure_current(START_MS - back).number == later
        later += 1
    assert keys.numbers() == (START_MS, START_MS + 1, START_MS + 2)


def test_workers_of_a_role_share_their_epochs(tmp_path: Path) -> None:
    """What one has begun the other finds, and neither begins a second where the first serves."""
    one, other = attach(tmp_path), attach(tmp_path)
    epoch = one.ensure_current(START_MS)
    assert other.ensure_current(START_MS + 10).number == epoch.number
    later = other.ensure_current(START_MS + 600)
    assert one.private(later.number).raw == later.key.raw
    assert one.ensure_current(START_MS + 600) == later
    assert one.ends() == other.ends() == (epoch.not_after_ms, later.not_after_ms)


def test_two_begin_one_epoch_at_the_same_time(tmp_path: Path) -> None:
    """Workers that all find none begin one together."""
    workers = [attach(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda worker: worker.ensure_current(START_MS).number, workers))
    assert set(begun) == {START_MS}
    assert files(tmp_path) == {f"{START_MS}.epoch"}


def test_what_another_worker_destroyed_is_dropped(tmp_path: Path) -> None:
    """A worker lets go of a key whose file is gone, keeps the others, and cannot find it again."""
    one, numbers = three(tmp_path)
    other = attach(tmp_path)
    assert one.destroy_ended(START_MS + 1000) == (numbers[0],)
    assert other.numbers() == tuple(numbers)
    assert other.drop_destroyed() == (numbers[0],)
    assert other.drop_destroyed() == ()
    with pytest.raises(EnvelopeUnreadable):
        other.private(numbers[0])
    assert other.destroy_ended(START_MS + 1600) == (numbers[1],)
    assert one.destroy_ended(START_MS + 1600) == (numbers[1],)


STEP = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 900)),
    st.tuples(st.just("destroy"), st.integers(0, 1500)),
    st.tuples(st.just("restart"), st.just(0)),
)


@given(steps=st.lists(STEP, max_size=12))
@examples(25)
def test_whatever_happens_senders_have_a_good_epoch(steps: list[tuple[str, int]]) -> None:
    """Over any waits, destructions and restarts: the current epoch has half its life left, and disk and RAM agree."""
    with tempfile.TemporaryDirectory() as name:
        folder, now = Path(name), START_MS
        keys = attach(folder)
        alive: dict[int, tuple[int, bytes]] = {}
        for what, amount in steps:
            if what == "wait":
                now += amount
            elif what == "restart":
                keys = attach(folder)
            else:
                ended = {n for n, (end, _) in alive.items() if end <= now - amount}
                assert set(keys.destroy_ended(now - amount)) == ended
                alive = {n: kept for n, kept in alive.items() if n not in ended}
            epoch = keys.ensure_current(now)
            assert epoch.not_after_ms - now >= LIFETIME_MS // 2
            assert epoch.number == max([*alive, epoch.number])
            alive[epoch.number] = epoch.not_after_ms, epoch.key.raw
            assert keys.current(now) == epoch
            assert {n: keys.private(n).raw for n in keys.numbers()} == {n: raw for n, (_, raw) in alive.items()}
            assert files(folder) == {f"{n}.epoch" for n in alive}


GOOD = {"epoch": 5, "not_after_ms": 9, "key": "ab" * 96}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"5",
        b"{}",
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD).encode()[:100],
        *(json.dumps({k: v for k, v in GOOD.items() if k != gone}).encode() for gone in GOOD),
        *(
            json.dumps(GOOD | change).encode()
            for change in (
                {"epoch": "five"},
                {"epoch": None},
                {"epoch": float("inf")},
                {"epoch": 6},
                {"not_after_ms": float("nan")},
                {"not_after_ms": [9]},
                {"key": "ab" * 95},
                {"key": "ab" * 97},
                {"key": "zz" * 96},
                {"key": 12},
                {"key": None},
            )
        ),
    ],
)
def test_a_damaged_epoch_file_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """Whatever is wrong with it, the error names the file and what is lost with it, and nothing that is in it."""
    three(tmp_path)
    path = tmp_path / "5.epoch"
    path.write_bytes(content)
    path.chmod(0o600)
    message = refused(tmp_path)
    assert "5.epoch is not an epoch key file" in message
    assert "rows sealed to that epoch are lost" in message


@pytest.mark.parametrize("name", ["copy.epoch", "05.epoch", "1764000000001.epoch"])
def test_a_key_under_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """A copy would survive its epoch's destruction and rise again at the next start: it is not taken in."""
    keys = attach(tmp_path)
    path = tmp_path / f"{keys.ensure_current(START_MS).number}.epoch"
    copy = tmp_path / name
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    assert f"{name} is not an epoch key file" in refused(tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_an_epoch_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    """It may have been read already: the error says its mode, and the file is left as it was."""
    attach(tmp_path).ensure_current(START_MS)
    path = tmp_path / f"{START_MS}.epoch"
    content = path.read_bytes()
    path.chmod(mode)
    assert f"has mode {mode:04o}, expected 0600" in refused(tmp_path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (content, mode)


def test_other_files_are_none_of_its_business(tmp_path: Path) -> None:
    """Notes and unfinished files are neither read nor removed."""
    keys, _ = three(tmp_path)
    for name in ("README", "7.epoch.partial"):
        (tmp_path / name).write_text("not a key")
    assert attach(tmp_path).numbers() == keys.numbers()
    keys.destroy_ended(START_MS + 10**6)
    assert files(tmp_path) == {"README", "7.epoch.partial"}


def test_epochs_print_no_key(tmp_path: Path) -> None:
    """Neither an epoch nor the set of them shows its private key; an unknown epoch's error names role and number."""
    keys = attach(tmp_path)
    epoch = keys.ensure_current(START_MS)
    for text in (repr(epoch), repr(epoch.public()), repr(keys)):
        assert epoch.key.raw.hex()[:16] not in text
        assert repr(epoch.key.raw)[2:20] not in text
    with pytest.raises(EnvelopeUnreadable, match="role 'attach' holds no private key for its epoch 17"):
        keys.private(17)


def test_a_destroyed_epoch_is_remembered_until_it_was_announced(tmp_path: Path) -> None:
    """Also over a restart: what was destroyed is told once, and no key file comes back with it."""
    keys, numbers = three(tmp_path)
    keys.destroy_ended(START_MS + 1700)
    assert keys.unannounced() == attach(tmp_path).unannounced() == tuple(numbers[:2])
    keys.announced(numbers[0])
    assert attach(tmp_path).unannounced() == (numbers[1],)


def test_a_crash_within_destruction_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """A key that was to be destroyed is not there any more after a restart, wherever the process was killed."""
    _, numbers = three(tmp_path)
    (tmp_path / f"{numbers[0]}.destroyed").touch()
    again = attach(tmp_path)
    assert again.numbers() == tuple(numbers[1:])
    assert not (tmp_path / f"{numbers[0]}.epoch").exists()
