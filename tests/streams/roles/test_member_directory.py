"""The members of `attach`'s partitions: who counts, under which codes, and that what cannot be read does not count."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from known_records import brief
from numpy.typing import NDArray

from estimator import GROUPS, RaceModel
from streams.errors import GroupModelUnusable, MembersMisplaced
from streams.inprocess import MemoryRecord
from streams.kafka.partitioner import partition_of
from streams.roles.attribute_records import AttributeReader
from streams.roles.member_directory import MemberDirectory

PARTITIONS = 4
GARCIA = {"family_name": "Garcia", "zcta": "90011"}


@pytest.fixture(scope="module")
def model() -> RaceModel:
    """The race model, loaded once."""
    return RaceModel.load()


@pytest.fixture
def directory(model: RaceModel) -> MemberDirectory:
    """A directory without members."""
    return MemberDirectory(model, bytes(32), PARTITIONS)


def record(member: bytes | None, attributes: Any, *, shift: int = 0) -> MemoryRecord:
    """An attribute record in its partition, or ``shift`` partitions beside it; raw bytes and None stay as they are."""
    home = int(partition_of(np.array([member or b""]), PARTITIONS)[0])
    value = attributes if attributes is None or isinstance(attributes, bytes) else json.dumps(attributes).encode()
    return MemoryRecord("member-attributes", (home + shift) % PARTITIONS, 42, member, value, (1, 0))


def counts(directory: MemberDirectory, *members: bytes) -> list[bool]:
    """Whether each member may count."""
    return [int(index) >= 0 for index in directory.countable(np.array(members, dtype=np.bytes_))]


def race(directory: MemberDirectory, member: bytes) -> NDArray[np.float64]:
    """Race probabilities from the codes that are kept of a member."""
    index = directory.countable(np.array([member]))
    return directory.model.posterior_of_codes(directory.store.codes[index]).reshape(6)


def self_id(directory: MemberDirectory, member: bytes) -> list[str]:
    """The groups that are kept as what a member ticked."""
    (index,) = directory.store.lookup(np.array([member])).tolist()
    mask = int(directory.store.self_id[index])
    return [group for place, group in enumerate(directory.model.groups) if mask >> place & 1]


def test_a_member_counts_under_its_own_codes(directory: MemberDirectory, model: RaceModel) -> None:
    """What is kept of a name and a place gives the probabilities that the name and the place give."""
    directory.load([record(b"ann", GARCIA), record(b"bob", {"family_name": "Washington", "state": "GA"})])
    assert counts(directory, b"ann", b"bob", b"eve") == [True, True, False]
    assert np.array_equal(race(directory, b"ann"), model.posterior(["Garcia"], zctas=["90011"])[0])
    assert np.array_equal(race(directory, b"bob"), model.posterior(["Washington"], states=["GA"])[0])


def test_a_member_of_whom_nothing_is_known_counts_as_anyone(directory: MemberDirectory, model: RaceModel) -> None:
    """Attributes may all be missing or null, and unknown ones be there: the member counts, with the national prior."""
    empty = {"family_name": None, "given_name": None, "zcta": None, "state": None, "county": None, "zip": None}
    directory.load([record(b"ann", {}), record(b"bob", empty), record(b"cid", {"age": 41, "tags": [1]})])
    assert counts(directory, b"ann", b"bob", b"cid") == [True] * 3
    for member in (b"ann", b"bob", b"cid"):
        assert np.array_equal(race(directory, member), model.posterior([None])[0])


def test_zip_stands_in_for_zcta(directory: MemberDirectory) -> None:
    """``zip`` is another name of ``zcta``; where both are there, ``zcta`` counts."""
    directory.load(
        [
            record(b"ann", {"family_name": "Garcia", "zip": "90011"}),
            record(b"bob", {"family_name": "Garcia", "zcta": "", "zip": "90011-1234"}),
            record(b"cid", {"family_name": "Garcia", "zcta": "90011", "zip": "02139"}),
            record(b"dan", {"family_name": "Garcia", "zip": "02139"}),
        ]
    )
    for member in (b"bob", b"cid"):
        assert np.array_equal(race(directory, member), race(directory, b"ann"))
    assert not np.allclose(race(directory, b"dan"), race(directory, b"ann"))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("black", ["black"]),
        (["black"], ["black"]),
        (["multiple", "black", "black"], ["black", "multiple"]),
        (list(GROUPS), list(GROUPS)),
        (None, []),
        ([], []),
        ("", []),
    ],
    ids=brief,
)
def test_self_id_is_kept_as_the_groups_that_were_ticked(directory: MemberDirectory, said: Any, kept: list[str]) -> None:
    """One name or a list of the model's names; nothing said is nothing kept, and changes nothing of the codes."""
    directory.load([record(b"ann", GARCIA | {"self_id": said}), record(b"bob", GARCIA)])
    assert self_id(directory, b"ann") == kept
    assert self_id(directory, b"bob") == []
    assert directory.unreadable == directory.unreadable_self_ids == 0
    assert np.array_equal(race(directory, b"ann"), race(directory, b"bob"))
    directory.load([record(b"ann", GARCIA)])
    assert self_id(directory, b"ann") == []


@pytest.mark.parametrize(
    "said", ["martian", ["black", "martian"], ["Black"], 3, True, {"race": "black"}, [["black"]], ["black", None], 1.5],
    ids=brief,
)  # fmt: skip
def test_self_id_that_cannot_be_read_is_absent_and_counted(directory: MemberDirectory, said: Any) -> None:
    """A name that is none of the model's, or no list of names, makes no Self-ID; the member counts all the same."""
    directory.load([record(b"ann", GARCIA | {"self_id": ["black"]})])
    directory.load([record(b"ann", GARCIA | {"self_id": said})])
    assert counts(directory, b"ann") == [True]
    assert self_id(directory, b"ann") == []
    assert (directory.unreadable, directory.unreadable_self_ids) == (0, 1)


class GenderModel:
    """A company's own model: two groups from one field, and a third word of code that it does not use."""

    groups = ("women", "men")
    attributes = ("given-name",)
    code_width = 1

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        return np.array([[len(name or "")] for name in attributes["given-name"]], np.uint32).reshape(-1, 1)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        women = (codes[:, 0] % 10) / 10
        return np.stack((women, 1 - women), axis=1)


def test_another_model_brings_its_own_fields_and_groups() -> None:
    """Fields are read by the model's names, whatever they are, and Self-ID is held to the model's groups."""
    directory = MemberDirectory(GenderModel(), bytes(32), PARTITIONS)
    directory.load(
        [
            record(b"ann", {"given-name": "Annabel", "self_id": "women", "family_name": 7}),
            record(b"bob", {"given-name": "Bo", "self_id": ["white"]}),
            record(b"cid", {"given-name": 7}),
        ]
    )
    assert counts(directory, b"ann", b"bob", b"cid") == [True, True, False]
    assert self_id(directory, b"ann") == ["women"]
    assert (directory.unreadable, directory.unreadable_self_ids) == (1, 1)
    index = directory.store.lookup(np.array([b"ann", b"bob"]))
    assert directory.model.posterior_of_codes(directory.store.codes[index])[:, 0].tolist() == [0.7, 0.2]


def test_a_model_that_fails_on_members_says_nothing_of_them() -> None:
    """An exception of the model, and codes of another shape, end the role with a message without any attribute."""

    class Fails(GenderModel):
        def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
            raise KeyError(attributes["given-name"][0])

    class Widens(GenderModel):
        def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
            return np.zeros((1, 2), np.uint32)

    name = "Anna" + "bel"  # in two parts, since a traceback shows this file's own lines
    for model, message in ((Fails(), "encode failed with KeyError"), (Widens(), r"shape \(1, 1\), got uint32")):
        with pytest.raises(GroupModelUnusable, match=message) as caught:
            MemberDirectory(model, bytes(32), PARTITIONS).load([record(b"ann", {"given-name": name})])
        assert name not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("out", [{"opt_out": True}, GARCIA | {"opt_out": True}, None])
def test_opting_out_acts_at_once(directory: MemberDirectory, out: Any) -> None:
    """A flag or a tombstone takes a member out with the record that carries it, and leaves the others in."""
    directory.load([record(b"ann", GARCIA), record(b"bob", GARCIA)])
    directory.load([record(b"ann", out)])
    assert counts(directory, b"ann", b"bob") == [False, True]
    assert directory.unreadable == 0


def test_of_several_records_the_last_counts(directory: MemberDirectory) -> None:
    """Out and in again, within one batch or over several: what was written last is what holds."""
    directory.load([record(b"ann", None), record(b"ann", GARCIA), record(b"bob", GARCIA), record(b"bob", None)])
    assert counts(directory, b"ann", b"bob") == [True, False]
    directory.load([record(b"bob", GARCIA | {"opt_out": False})])
    directory.load([record(b"ann", {"opt_out": True})])
    assert counts(directory, b"ann", b"bob") == [False, True]
    assert len(directory.store) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"family_name":"\xff"}',
        b'{"family_name":"\\ud800"}',
        b'{"family_name":7}',
        b'{"zip":90011}',
        b'{"opt_out":null}',
        b'{"opt_out":"no"}',
        b'{"opt_out":0}',
        b'{"x":' + b"[" * 100_000,
        b"{} {}",
    ],
    ids=brief,
)
def test_what_cannot_be_read_takes_the_member_out(directory: MemberDirectory, attributes: bytes) -> None:
    """A record that cannot be read might have been an opt-out, so its member is left out, counted, and no other is."""
    directory.load([record(b"ann", GARCIA), record(b"bob", GARCIA)])
    directory.load([record(b"ann", attributes), record(b"cid", GARCIA)])
    assert counts(directory, b"ann", b"bob", b"cid") == [False, True, True]
    assert directory.unreadable == 1


@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("said", [GARCIA, GARCIA | {"opt_out": True}, None, b"{"], ids=brief)
def test_a_misplaced_record_takes_its_member_out_and_nobody_else(
    directory: MemberDirectory, shift: int, said: Any
) -> None:
    """It may have been an opt-out: whatever it says, and in whichever order partitions are read, its member is out."""
    stray = record(b"bob", said, shift=shift)
    others = [record(b"ann", GARCIA), record(b"cid", GARCIA)]
    for order in ([stray, record(b"bob", GARCIA)], [record(b"bob", GARCIA), stray]):
        for cut in range(len(order) + 1):
            fresh = MemberDirectory(directory.model, bytes(32), PARTITIONS)
            fresh.load([*others, *order[:cut]])
            fresh.load(order[cut:])
            assert counts(fresh, b"ann", b"bob", b"cid") == [True, False, True]
            assert fresh.misplaced == 1
            index = fresh.store.lookup(np.array([b"bob"]))
            assert not fresh.store.codes[index].any()
            fresh.load([record(b"bob", GARCIA | {"opt_out": False})])
            assert counts(fresh, b"ann", b"bob", b"cid") == [True, False, True]
    assert fresh.unreadable == 0


def test_a_misplaced_record_makes_nobody_known(directory: MemberDirectory) -> None:
    """Neither a member of whom nothing else is known nor one that opted out counts by a record in a wrong partition."""
    directory.load([record(b"out", {"opt_out": True}), record(b"ann", GARCIA)])
    directory.load([record(b"out", GARCIA, shift=1), record(b"new", GARCIA, shift=2)])
    assert counts(directory, b"out", b"new", b"ann") == [False, False, True]


def test_the_report_names_numbers_and_a_place_and_no_member(directory: MemberDirectory) -> None:
    """Counted are members' records; of those whose member another worker counts it says that an opt-out is lost."""
    directory.positions = {("member-attributes", j): 0 for j in range(PARTITIONS)}
    directory.load([record(b"ann", GARCIA), record(b"bob", GARCIA, shift=1), record(None, GARCIA)])
    report = directory.misplaced_report()
    assert re.match(r"1 of 2 attribute records .*member-attributes partition \d offset 42: ", report)
    assert "bob" not in report
    assert "another worker" not in report
    home = int(partition_of(np.array([b"bob"]), PARTITIONS)[0])
    of_other = MemberDirectory(directory.model, bytes(32), PARTITIONS)
    of_other.positions = {("member-attributes", (home + 1) % PARTITIONS): 0}
    of_other.load([record(b"bob", None, shift=1)])
    assert re.search(
        r"1 of them are of members that another worker counts.*members opt-out", of_other.misplaced_report()
    )


def test_too_many_misplaced_records_are_refused(directory: MemberDirectory) -> None:
    """A topic that another partitioner wrote is refused with numbers, place, setting and remedy; a stray one is not."""
    members = [b"m%03d" % k for k in range(99)]
    directory.load([record(member, GARCIA) for member in members])
    directory.require_placed(0.0)
    directory.load([record(b"bob", GARCIA, shift=1)])
    directory.require_placed(0.01)
    with pytest.raises(MembersMisplaced):
        directory.require_placed(0.0)
    directory.load([record(b"eve", GARCIA, shift=3)])
    refusal = r"^2 of 101 .*2 of 101 members, .*attach.misplaced_ratio \(0.01\).*murmur2_random"
    with pytest.raises(MembersMisplaced, match=refusal):
        directory.require_placed(0.01)


def test_members_and_not_records_are_too_many(directory: MemberDirectory) -> None:
    """Profiles that are written again and again hide nothing, and one member's strays are one member's."""
    members = [b"m%03d" % k for k in range(100)]
    for _ in range(20):
        directory.load([record(member, GARCIA) for member in members])
    directory.load([record(b"m000", None, shift=1)] * 500)
    directory.require_placed(0.01)
    directory.load([record(b"m001", GARCIA, shift=1)])  # 2 of 100, of 2501 records
    with pytest.raises(MembersMisplaced, match=r"2 of 100 members"):
        directory.require_placed(0.01)


def test_one_member_ends_nothing(directory: MemberDirectory) -> None:
    """The first record of a topic that is being filled may be a stray; the second is one in two."""
    directory.load([record(b"ann", GARCIA, shift=1)])
    directory.require_placed(0.01)
    with pytest.raises(MembersMisplaced):
        directory.require_placed(0.0)
    directory.load([record(b"bob", GARCIA, shift=1)])
    with pytest.raises(MembersMisplaced, match=r"2 of 2 members"):
        directory.require_placed(0.01)


def test_positions_follow_what_was_taken_in(directory: MemberDirectory) -> None:
    """Where to read on is one past the last record of each partition, also of records that were left aside."""
    directory.load([MemoryRecord("member-attributes", 3, 9, None, b"{}", (1, 0)), record(b"ann", GARCIA)])
    home = int(partition_of(np.array([b"ann"]), PARTITIONS)[0])
    assert directory.positions == {("member-attributes", 3): 10, ("member-attributes", home): 43}


def test_keys_that_are_no_ids_are_left_aside(directory: MemberDirectory) -> None:
    """No key, one with NUL, which would pass for another member's, or a huge one: counted, and without effect."""
    directory.load([record(b"ann", GARCIA)])
    for key in (None, b"", b"ann\0", b"\0", b"a\0b", b"x" * 129, b"x" * 1_000_000):
        # Where Java would put it does not matter: it is not looked at.
        directory.load([record(b"bob", GARCIA), MemoryRecord("member-attributes", 0, 0, key, None, (1, 0))])
    assert counts(directory, b"ann", b"bob") == [True, True]
    assert directory.unreadable == 7
    assert len(directory.store) == 2


def test_the_longest_id_is_welcome(directory: MemberDirectory) -> None:
    """An id of 128 bytes, the most that a measurement may allow, is found beside short ones."""
    long = b"x" * 128
    directory.load([record(long, GARCIA), record(b"x", GARCIA)])
    assert counts(directory, long, b"x", b"x" * 127) == [True, True, False]
    assert len(directory.store) == 2


def test_every_change_has_a_version(directory: MemberDirectory) -> None:
    """The version rises with each batch that changes something, and not with an empty one."""
    directory.load([])
    assert directory.version == 0
    directory.load([record(b"ann", GARCIA)])
    directory.load([record(b"ann", None)])
    assert directory.version == 2


def test_at_most_forty_bytes_a_member(model: RaceModel) -> None:
    """The store keeps codes, not names: 40 bytes a member at most, and no name or id is in it."""
    directory = MemberDirectory(model, b"key", 1)
    ids = [b"member-%012d" % number for number in range(30_000)]
    for start in range(0, len(ids), 10_000):
        directory.load(
            [
                MemoryRecord("member-attributes", 0, 0, key, b'{"family_name":"Garcia","zcta":"90011"}', (1, 0))
                for key in ids[start : start + 10_000]
            ]
        )
    assert len(directory.store) == 30_000
    assert directory.store.bytes_per_member <= 40
    held = b"".join(part.tobytes() for part in vars(directory.store).values() if isinstance(part, np.ndarray))
    assert b"member-" not in held
    assert b"GARCIA" not in held.upper()


def test_the_same_key_finds_cap_state_again(model: RaceModel) -> None:
    """Tags are the same over restarts with one key, and another key's cannot be linked to them."""
    ids = np.array([b"ann", b"bob"])
    tags = [MemberDirectory(model, key, 1).store.tag(ids) for key in (b"one", b"one", b"other")]
    assert np.array_equal(tags[0], tags[1])
    assert not (tags[0] == tags[2]).any()


def test_one_odd_record_takes_one_member_out() -> None:
    """A member may write what a company's model chokes on: they are out and counted, all others count, no role ends."""

    class Chokes(GenderModel):
        def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
            if any(text == "odd" for column in attributes.values() for text in column):
                raise ValueError("odd")
            return super().encode(attributes)

    directory = MemberDirectory(Chokes(), bytes(32), PARTITIONS)
    field = GenderModel.attributes[0]
    directory.load([record(b"m1", {field: "plain"}), record(b"m2", {field: "odd"}), record(b"m3", {})])
    assert counts(directory, b"m1", b"m2", b"m3") == [True, False, True]
    assert directory.unreadable == 1
    directory.load([record(b"m4", {field: "odd"})])
    assert counts(directory, b"m4") == [False]


@pytest.mark.parametrize("value", [None, b'{"opt_out": true}', b'{"opt_out":true}'], ids=brief)
def test_a_bare_opt_out_needs_no_model(model: RaceModel, monkeypatch: pytest.MonkeyPatch, value: bytes | None) -> None:
    """Who is only taken out is neither decoded nor coded: codes and Self-ID are overwritten, and the order holds."""
    directory = MemberDirectory(model, bytes(32), PARTITIONS)
    directory.load([record(b"ann", GARCIA | {"self_id": ["black"]}), record(b"bob", GARCIA)])
    monkeypatch.setattr(AttributeReader, "read", lambda self, value: pytest.fail("decoded"))
    directory.load([record(b"ann", value), record(b"new", value)])
    monkeypatch.undo()
    assert counts(directory, b"ann", b"bob", b"new") == [False, True, False]
    index = directory.store.lookup(np.array([b"ann"]))
    assert not directory.store.codes[index].any()
    assert not directory.store.self_id[index].any()
    directory.load([record(b"bob", value), record(b"bob", GARCIA), record(b"ann", GARCIA), record(b"ann", value)])
    assert counts(directory, b"ann", b"bob") == [False, True]
    assert directory.unreadable == 0
    homes = [int(partition_of(np.array([who]), PARTITIONS)[0]) for who in (b"ann", b"bob", b"new")]
    assert [directory.members_in(j) for j in range(PARTITIONS)] == [homes.count(j) for j in range(PARTITIONS)]


def test_partitions_that_went_to_another_worker_are_followed_no_more(directory: MemberDirectory) -> None:
    """What is left is read on where it was; of the others no position and no number of members is kept."""
    members = [b"m%d" % k for k in range(40)]
    directory.positions = {("member-attributes", j): 0 for j in range(PARTITIONS)}
    directory.load([record(member, GARCIA) for member in members])
    counts = {j: directory.members_in(j) for j in range(PARTITIONS)}
    assert all(counts.values())
    before = dict(directory.positions)
    directory.keep_only({1, 3})
    assert {j for _, j in directory.positions} == {1, 3}
    assert directory.positions.items() <= before.items()
    assert [directory.members_in(j) for j in range(PARTITIONS)] == [0, counts[1], 0, counts[3]]
