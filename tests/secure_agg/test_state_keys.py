"""State keys: stored before use, followed in time, found by other workers, destroyed when all have passed, and told."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import KeyFileError, StateKeys, state_keys

LIFETIME_MS = 1000
START_MS = 1_764_000_000_000


def worker(folder: Path) -> StateKeys:
    """The keys as a process finds them that starts now."""
    return StateKeys(folder, LIFETIME_MS)


def two(folder: Path) -> tuple[StateKeys, int, int]:
    """Keys with their numbers, the second of which follows the first after its lifetime."""
    keys = worker(folder)
    return keys, keys.ensure_current(START_MS).number, keys.ensure_current(START_MS + LIFETIME_MS).number


def test_a_key_is_stored_before_it_is_used(tmp_path: Path) -> None:
    """When there is a key it is in its own file, for its owner only, and a restarted process has the same."""
    key = worker(tmp_path / "state").ensure_current(START_MS)
    path = tmp_path / "state" / f"{START_MS}.state"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    again = worker(tmp_path / "state")
    assert (again.find(key.number), again.newest()) == (key.secret, key)
    assert key.secret.hex() not in repr(key)


def test_a_key_is_followed_when_its_time_is_over(tmp_path: Path) -> None:
    """Not before, and by one of its own."""
    keys = worker(tmp_path)
    first = keys.ensure_current(START_MS)
    assert keys.ensure_current(START_MS + LIFETIME_MS - 1) == first
    second = keys.ensure_current(START_MS + LIFETIME_MS)
    assert second.number > first.number
    assert second.secret != first.secret
    assert keys.numbers() == (first.number, second.number)


def test_a_clock_that_was_far_ahead_once_does_not_keep_a_key_for_ever(tmp_path: Path) -> None:
    """A key that began in the future is followed at once, and its follower lives as long as any."""
    keys = worker(tmp_path)
    wrong = keys.ensure_current(START_MS + 10**9)
    right = keys.ensure_current(START_MS)
    assert right.number > wrong.number
    assert keys.ensure_current(START_MS + LIFETIME_MS - 1) == right
    assert keys.ensure_current(START_MS + LIFETIME_MS).number > right.number


def test_workers_share_their_keys(tmp_path: Path) -> None:
    """What one worker begins another takes over, and finds by its number before."""
    one, other = worker(tmp_path), worker(tmp_path)
    key = one.ensure_current(START_MS)
    assert other.find(key.number) == key.secret
    assert worker(tmp_path).ensure_current(START_MS + 5) == key
    assert other.ensure_current(START_MS + 5) == key


def test_a_key_goes_when_it_is_passed_and_not_before(tmp_path: Path) -> None:
    """The one worker of a role decides alone; the newest key stays whatever is said."""
    keys, first, second = two(tmp_path)
    assert keys.passed("w", first, ["w"]) == ()
    assert keys.passed("w", second + 99, ["w"]) == (first,)
    assert keys.numbers() == worker(tmp_path).numbers() == (second,)
    assert not (tmp_path / f"{first}.state").exists()
    assert keys.find(first) is None


def test_a_key_stays_while_one_worker_needs_it(tmp_path: Path) -> None:
    """Of three, each must have said so; a word of a place that is gone does not count, and is cleared away."""
    keys, first, second = two(tmp_path)
    places = ["0", "1", "2"]
    assert keys.passed("gone", second, ["gone", "1"]) == ()
    assert keys.passed("0", second, places) == ()
    assert worker(tmp_path).passed("1", second, places) == ()
    assert worker(tmp_path).passed("2", first, places) == ()
    assert keys.numbers() == (first, second)
    assert worker(tmp_path).passed("2", second, places) == (first,)
    keys.refresh()
    assert keys.numbers() == (second,)
    assert sorted(path.stem for path in tmp_path.glob("*.rewritten")) == places


@given(said=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=20))
@examples(25)
def test_no_key_goes_that_a_worker_needs(said: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever three workers say in whatever order, a key is there as long as one has not passed it."""
    folder = tmp_path_factory.mktemp("law")
    keys = worker(folder)
    numbers = [keys.ensure_current(START_MS + k * LIFETIME_MS).number for k in range(4)]
    reached: dict[int, int] = {}
    for who, step in said:
        reached[who] = max(reached.get(who, 0), step)  # a worker never goes back
        worker(folder).passed(str(who), numbers[reached[who]], ["0", "1", "2"])
        low = min(reached.values()) if len(reached) == 3 else 0
        assert worker(folder).numbers() == tuple(numbers[low:])


def test_what_was_destroyed_is_remembered_until_it_was_announced(tmp_path: Path) -> None:
    """Over a restart as well; and its number is not used again."""
    keys, first, second = two(tmp_path)
    keys.passed("w", second, ["w"])
    assert worker(tmp_path).unannounced() == (first,)
    keys.announced(first)
    assert worker(tmp_path).unannounced() == ()


def test_a_crash_within_destruction_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the decision and the deed, the next process finds the key gone and says so."""
    keys, first, second = two(tmp_path)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(state_keys, "destroy_private", killed)
        with pytest.raises(KeyboardInterrupt):
            keys.passed("w", second, ["w"])
    assert (tmp_path / f"{first}.state").exists()
    again = worker(tmp_path)
    assert (again.numbers(), again.unannounced()) == ((second,), (first,))
    assert not (tmp_path / f"{first}.state").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", json.dumps({"number": 5, "key": "ab"}).encode()])
def test_a_damaged_file_is_refused_with_a_word(tmp_path: Path, content: bytes) -> None:
    """Its state would be unreadable: the role says which file to restore, and shows nothing of it."""
    keys = worker(tmp_path)
    number = keys.ensure_current(START_MS).number
    (tmp_path / f"{number}.state").write_bytes(content)
    with pytest.raises(KeyFileError, match="restore the file"):
        worker(tmp_path)


def test_a_copy_is_refused(tmp_path: Path) -> None:
    """A copy would survive its key's destruction."""
    number = worker(tmp_path).ensure_current(START_MS).number
    source = tmp_path / f"{number}.state"
    copy = tmp_path / f"{number + 1}.state"
    copy.write_bytes(source.read_bytes())
    copy.chmod(0o600)
    with pytest.raises(KeyFileError):
        worker(tmp_path)
    copy.rename(tmp_path / "old.state")
    with pytest.raises(KeyFileError, match="remove it"):
        worker(tmp_path)


def test_only_a_place_of_the_layout_may_speak(tmp_path: Path) -> None:
    """A worker that is none of the layout's is a mistake of the caller's."""
    keys, _, second = two(tmp_path)
    with pytest.raises(ValueError, match="none of"):
        keys.passed("3", second, ["0", "1"])


def test_a_key_that_goes_while_it_is_looked_up_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker destroys it between the listing of the folder and the reading of the file."""
    _, first, second = two(tmp_path)
    read = state_keys.read_private

    def late(path: Path) -> bytes:
        if path.name == f"{first}.state":
            path.unlink()
        return read(path)

    monkeypatch.setattr(state_keys, "read_private", late)
    assert worker(tmp_path).numbers() == (second,)
