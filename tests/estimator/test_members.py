"""The member store against a plain dict, and its promises of size and speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from estimator import EstimatorError, MemberStore
from estimator.members import FLAG_OPTED_OUT

ID = st.binary(min_size=1, max_size=40).filter(lambda value: not value.endswith(b"\0"))
GOLDEN = [0x30F7780B1ED59637, 0xE551C7F0CF52C224, 0x59592BE49EF9F4AE]
WIDTH = 3
"""Words of a code: surname, given name, place."""
WORD = st.integers(0, 2**32 - 1)
ENTRY = st.tuples(ID, st.tuples(WORD, WORD, WORD), st.integers(0, 2**16 - 1), st.integers(0, 255))
Entry = tuple[bytes, tuple[int, int, int], int, int]


def upsert(store: MemberStore, entries: list[Entry]) -> None:
    ids, codes, self_id, flags = zip(*entries, strict=True)
    store.upsert(
        np.array(ids, dtype="S"), np.array(codes, np.uint32), np.array(self_id, np.uint16), np.array(flags, np.uint8)
    )


def alike(store: MemberStore, ids: NDArray[np.bytes_], code: int = 0, flag: int = 0) -> None:
    """Insert members with one code and one flag."""
    n = ids.size
    store.upsert(ids, np.full((n, WIDTH), code, np.uint32), np.zeros(n, np.uint16), np.full(n, flag, np.uint8))


def numbered(start: int, stop: int) -> NDArray[np.bytes_]:
    return np.char.mod("member-%d", np.arange(start, stop)).astype("S36")


def filled(count: int, chunk: int = 4096) -> MemberStore:
    store = MemberStore(b"key", WIDTH)
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        alike(store, numbered(start, start + size))
    return store


@examples(60)
@given(st.lists(st.lists(ENTRY, min_size=1, max_size=30), max_size=6), st.lists(ID, min_size=1, max_size=20))
def test_behaves_like_a_dict(batches: list[list[Entry]], others: list[bytes]) -> None:
    """After any batches (repeated ids, any bytes) it holds what a dict would: of equal ids the last entry wins."""
    store, model = MemberStore(b"key", WIDTH), {}
    for batch in batches:
        upsert(store, batch)
        model.update({entry[0]: entry[1:] for entry in batch})
    assert len(store) == len(model)
    if model:
        index = store.lookup(np.array(list(model), dtype="S"))
        assert sorted(index.tolist()) == list(range(len(model)))
        found = zip(
            store.codes[index].tolist(), store.self_id[index].tolist(), store.flags[index].tolist(), strict=True
        )
        assert [(tuple(codes), self_id, flags) for codes, self_id, flags in found] == list(model.values())
    unknown = [value for value in others if value not in model]
    if unknown:
        assert np.all(store.lookup(np.array(unknown, dtype="S")) == -1)


@pytest.mark.parametrize("chain", [1, 2, 3, 9, 10, 11, 18, 100])
def test_members_that_meet_in_one_slot_are_told_apart(chain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a chain is, also where it runs over the table's end, each of it is found, and nobody else."""
    store = MemberStore(b"key", WIDTH)
    ids = np.array([b"%d" % k for k in range(chain + 1)])
    tags = (np.arange(1, chain + 2, dtype=np.uint64) << np.uint64(32)) - np.uint64(3)  # two slots before the end
    monkeypatch.setattr(store, "tag", lambda asked: tags[: asked.size])
    store.upsert(ids[:-1], np.zeros((chain, WIDTH), np.uint32), np.zeros(chain, np.uint16), np.zeros(chain, np.uint8))
    assert sorted(store.find_tags(tags[:-1]).tolist()) == list(range(chain))
    assert (store.tags[store.find_tags(tags[:-1])] == tags[:-1]).all()
    assert store.find_tags(tags)[-1] == -1


def test_index_of_a_member_never_changes() -> None:
    """Caps are counted by dense index, so it must survive growth and every later entry."""
    store = MemberStore(b"key", WIDTH)
    ids = numbered(0, 500)
    alike(store, ids)
    before = store.lookup(ids)
    more = numbered(0, 20_000)
    alike(store, more, flag=FLAG_OPTED_OUT)
    assert np.array_equal(store.lookup(ids), before)
    assert np.all(store.flags[before] == FLAG_OPTED_OUT)


@given(st.lists(ID, min_size=1, max_size=20), st.integers(0, 30))
def test_an_id_has_one_tag_whatever_the_width(ids: list[bytes], wider: int) -> None:
    """Batches are as wide as their longest id; the same member must be found in each."""
    store = MemberStore(b"key", WIDTH)
    narrow = np.array(ids, dtype="S")
    assert np.array_equal(store.tag(narrow), store.tag(narrow.astype(f"S{narrow.dtype.itemsize + wider}")))
    alone = [int(store.tag(np.array([value], dtype="S"))[0]) for value in ids]
    assert store.tag(narrow).tolist() == alone


def test_tags_are_distinct_spread_and_keyed() -> None:
    """A million like ids: no collision, every bit set half of the time, and another key gives other tags."""
    ids = numbered(0, 1_000_000)
    tags = MemberStore(b"key", WIDTH).tag(ids)
    assert np.unique(tags).size == ids.size
    ones = np.array([((tags >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)])
    assert np.all(np.abs(ones - 0.5) < 0.005)  # ten standard deviations
    other = MemberStore(b"another", WIDTH).tag(ids)
    assert not np.any(other == tags)
    flipped = np.array([bin(int(value)).count("1") for value in (tags[:20_000] ^ other[:20_000])])
    assert abs(flipped.mean() - 32) < 0.5


def test_one_changed_bit_changes_half_of_the_tag() -> None:
    """Avalanche: ids that differ in one bit, anywhere, get unrelated tags, so the table stays even."""
    store = MemberStore(b"key", WIDTH)
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 255, (4000, 20), dtype=np.uint8)
    changed = ids.copy()
    changed[np.arange(4000), rng.integers(0, 20, 4000)] ^= np.uint8(2)
    tags = [store.tag(np.ascontiguousarray(array).view("S20").ravel()) for array in (ids, changed)]
    flipped = np.array([bin(int(value)).count("1") for value in (tags[0] ^ tags[1])])
    assert abs(flipped.mean() - 32) < 0.5
    assert flipped.min() > 8


def test_tags_stay_as_they_are() -> None:
    """Tags are kept in cap state across restarts and versions: a changed hash would open every cap anew."""
    tags = MemberStore(b"golden", WIDTH).tag(
        np.array([b"a", b"member-1", b"0123456789abcdef0123456789abcdef0123"], dtype="S")
    )
    assert tags.tolist() == GOLDEN


def test_find_tags_undoes_tag() -> None:
    """Cap state comes back by tag alone; a tag of nobody is -1."""
    store = filled(3000)
    ids = numbered(0, 3000)
    assert np.array_equal(store.find_tags(store.tag(ids)), store.lookup(ids))
    assert np.array_equal(store.tags[store.lookup(ids)], store.tag(ids))
    assert store.find_tags(np.array([1, 2, 3], np.uint64)).tolist() == [-1, -1, -1]


def test_empty_store_and_empty_batch() -> None:
    """Nobody is known before the first member, and an empty batch is no special case."""
    store = MemberStore(b"key", WIDTH)
    empty = np.array([], dtype="S8")
    assert store.lookup(numbered(0, 5)).tolist() == [-1] * 5
    alike(store, empty)
    assert (len(store), store.lookup(empty).size, store.bytes_per_member) == (0, 0, 0.0)


def test_wrong_arrays_are_refused() -> None:
    """Columns of other lengths, codes of another width, or ids as text would attach codes to the wrong members."""
    store = MemberStore(b"key", WIDTH)
    ids, codes = numbered(0, 2), np.zeros((2, WIDTH), np.uint32)
    masks, flags = np.zeros(2, np.uint16), np.zeros(2, np.uint8)
    with pytest.raises(EstimatorError, match=r"2 ids, codes of shape \(1, 3\)"):
        store.upsert(ids, codes[:1], masks, flags)
    with pytest.raises(EstimatorError, match="codes of 3 words"):
        store.upsert(ids, codes[:, :2], masks, flags)
    with pytest.raises(EstimatorError, match="1 Self-IDs"):
        store.upsert(ids, codes, masks[:1], flags)
    with pytest.raises(EstimatorError, match="dtype S"):
        store.lookup(np.array(["a", "b"]))


def test_at_most_forty_bytes_a_member() -> None:
    """The promise holds just before and just after a growth of the table, with codes of three words and Self-ID."""
    store = MemberStore(b"key", WIDTH)
    for count in (200_000, 314_000, 315_000, 400_000, 630_000, 1_000_000):
        while (known := len(store)) < count:
            alike(store, numbered(known, min(known + 50_000, count)))
        assert len(store) == count
        assert store.bytes_per_member <= 40, count


def test_speed_of_lookup_and_load() -> None:
    """Of the order of a millisecond for 4,096 ids (0.3 on a free core), and of a second for 200,000 members."""
    started = time.perf_counter()
    store = filled(200_000)
    assert time.perf_counter() - started < 2.0  # 0.1 s on a free core, most of it making the ids
    ids = numbered(0, 200_000)[np.random.default_rng(1).integers(0, 200_000, 4096)]
    best = min(_seconds(store, ids) for _ in range(20))
    assert best < 0.01  # a loop in Python takes more


def _seconds(store: MemberStore, ids: NDArray[np.bytes_]) -> float:
    started = time.perf_counter()
    store.lookup(ids)
    return time.perf_counter() - started
