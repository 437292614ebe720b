"""Format versions 1 and 2 side by side in one log, and what a reader does with a version that it does not know.

The roles of these tests are the real ones; ``of_version`` makes a turn of one of them the software of that version.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import make_pipeline, refused, send, totals
from known_records import later, of_version, sections_of, with_section

from privacy import LedgerBroken
from streams.errors import StateUnreadable
from streams.inprocess import InProcessPipeline
from streams.records import frame
from streams.records.frame import Kind
from streams.records.release import SignedRelease
from streams.roles.publish import PublishCore

pytestmark = pytest.mark.slow

SECONDS = 75
ROLES = ("seal", "attach", "a", "b")


def run(folder: Path, version_of: Callable[[str, int], int], *, restarts: bool = False) -> InProcessPipeline:
    """A pipeline whose role writes and reads ``version_of(role, second)``."""
    pipeline = make_pipeline(folder)
    before: dict[str, int] = {}
    for second in range(SECONDS):
        send(pipeline, second)
        for role in ROLES:
            version = version_of(role, second)
            with of_version(version):
                if restarts and before.setdefault(role, version) != version:
                    pipeline.start(role)
                pipeline.turn(role)
            before[role] = version
        pipeline.publish()
    return pipeline


def versions(pipeline: InProcessPipeline, topic: str) -> list[int]:
    """The format version of each record on a topic, in the order of its first partition."""
    return [frame.version_of(record.value_ or b"") for record in pipeline.log.read(topic, 0)]


def test_an_upgrade_and_a_step_back_under_load_change_no_sum(tmp_path: Path) -> None:
    """From the pipeline's end to its beginning, each role by a restart; then seal goes back and forward again."""
    begun = {"b": 13, "a": 16, "attach": 20, "seal": 30}

    def version_of(role: str, second: int) -> int:
        if role == "seal" and 45 <= second < 60:
            return 1
        return 2 if second >= begun[role] else 1

    pipeline = run(tmp_path, version_of, restarts=True)
    assert all(not pipeline.stage(role).stopped() for role in ROLES)
    assert totals(pipeline) == [100.0] * 7
    kinds = versions(pipeline, "sealed")
    changes = [one for one, other in zip(kinds, [*kinds[1:], 0], strict=True) if one != other]
    assert changes == [1, 2, 1, 2]
    assert set(versions(pipeline, "shares")) == set(versions(pipeline, "releases-a")) == {1, 2}
    assert "void" not in {window.status for window in pipeline.published}


@pytest.mark.parametrize("seal", [1, 2])
def test_attach_of_version_2_takes_either(tmp_path: Path, seal: int) -> None:
    """The tables are the same whichever version seal writes."""
    pipeline = run(tmp_path, lambda role, second: seal if role == "seal" else 2)
    assert totals(pipeline) == [100.0] * 7
    assert set(versions(pipeline, "sealed")) == {seal}


def test_a_reader_that_is_too_old_stops_and_goes_on_after_its_upgrade(tmp_path: Path) -> None:
    """Seal was upgraded first, against the order: attach stops, says what to upgrade, and then nothing is missing."""

    def version_of(role: str, second: int) -> int:
        return {"seal": 2, "attach": 1 if second < 40 else 2}.get(role, 2)

    pipeline = make_pipeline(tmp_path)
    for second in range(SECONDS):
        send(pipeline, second)
        for role in ROLES:
            with of_version(version_of(role, second)):
                if role == "attach" and second == 40:
                    reasons = set(pipeline.stage("attach").stopped().values())
                    assert len(reasons) == 1
                    assert "format version 2 by seal" in reasons.copy().pop()
                    assert "upgrade attach first" in reasons.pop()
                    assert refused(pipeline, "attach", "malformed") == 0
                    pipeline.start("attach")
                pipeline.turn(role)
        pipeline.publish()
    assert totals(pipeline) == [100.0] * 7


@pytest.mark.parametrize(
    ("topic", "writer", "reader"), [("sealed", "seal", "attach"), ("shares", "attach", "a"), ("shares", "attach", "b")]
)
def test_version_3_stops_its_partition_only_under_the_writers_signature(
    tmp_path: Path, topic: str, writer: str, reader: str
) -> None:
    """Unsigned, or signed by any other role, a record of version 3 is refused and counted, and nothing stops."""
    pipeline = make_pipeline(tmp_path)
    keys = {role: pipeline._keys[role].identity for role in pipeline._keys}
    own = later(keys[writer], Kind.SEALED)
    thieves = [later(keys[role], Kind.SEALED) for role in keys if role != writer]
    # The signature of the record before it, a bit of it, or a byte more: all that one can do without the key.
    forged = [*thieves, with_flipped(own), own[:-1], own + b"x", b"ES\x03\x01\0\0", b"ES\x63"]
    for second in range(25):
        send(pipeline, second)
        if second == 12:
            for value in forged:
                pipeline.log.append(topic, 1, value)
        pipeline.run()
    assert refused(pipeline, reader, "malformed") == len(forged)
    assert not pipeline.stage(reader).stopped()
    assert totals(pipeline) == [100.0] * 2
    pipeline.log.append(topic, 1, own)
    for second in range(25, 40):
        send(pipeline, second)
        pipeline.run()
    (reason,) = pipeline.stage(reader).stopped().values()
    assert f"format version 3 by {writer}" in reason
    assert totals(pipeline) == [100.0] * 2  # no window closes without the partition


def with_flipped(value: bytes) -> bytes:
    """The record with one bit of its contents changed."""
    return value[:20] + bytes((value[20] ^ 1,)) + value[21:]


def test_publish_waits_for_its_upgrade_and_no_window_is_void_for_it(tmp_path: Path) -> None:
    """A party that writes version 2 to a publish of version 1: counted, nothing shown; after the upgrade, all of it."""
    pipeline = make_pipeline(tmp_path)
    for second in range(SECONDS):
        send(pipeline, second)
        for role in ROLES:
            with of_version(2 if role == "a" and second >= 42 else 1):
                pipeline.turn(role)
        with of_version(1):
            pipeline.publish()
    assert set(versions(pipeline, "releases-a")) == {1, 2}
    assert totals(pipeline) == [100.0] * 4
    assert set(pipeline.core.refused) == {("", "a", "newer_version")}
    assert pipeline.core.refused["", "a", "newer_version"] == versions(pipeline, "releases-a").count(2)
    assert len(pipeline.published) == 4
    assert "void" not in {window.status for window in pipeline.published}
    upgraded = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)
    windows = {}
    for party in ("a", "b"):
        for value in pipeline.log.values(f"releases-{party}"):
            window = upgraded.apply(party, value)
            if window is not None:
                windows[window.topic_key()] = window
    assert [windows[window.topic_key()].encode() for window in pipeline.published] == [
        window.encode() for window in pipeline.published
    ]
    assert "void" not in {window.status for window in windows.values()}
    assert len(windows) == len(versions(pipeline, "releases-a"))


def test_a_forged_release_of_a_later_version_holds_nothing_up(tmp_path: Path) -> None:
    """Only the party's own signature makes publish wait; anyone else's record is malformed and counted."""
    pipeline = make_pipeline(tmp_path)
    for second in range(25):
        send(pipeline, second)
        pipeline.run()
    for role in ("seal", "attach", "b", "publish"):
        pipeline.log.append("releases-a", 0, later(pipeline._keys[role].identity, Kind.RELEASE))
    for second in range(25, SECONDS):
        send(pipeline, second)
        pipeline.run()
    assert pipeline.core.refused == {("", "a", "malformed"): 4}
    assert totals(pipeline) == [100.0] * 7


def test_a_party_does_not_start_behind_its_own_later_release(tmp_path: Path) -> None:
    """Whether it released a window already cannot be told any more, so it noises none again."""
    pipeline = make_pipeline(tmp_path)
    for second in range(25):
        send(pipeline, second)
        pipeline.run()
    pipeline.log.append("releases-a", 0, later(pipeline._keys["b"].identity, Kind.RELEASE))
    pipeline.start("a")
    pipeline.log.append("releases-a", 0, later(pipeline._keys["a"].identity, Kind.RELEASE))
    with pytest.raises(LedgerBroken, match=r"format version 3.* run that version"):
        pipeline.start("a")


def test_attach_does_not_start_behind_its_own_later_record(tmp_path: Path) -> None:
    """The same of attach, which would send twice what it cannot read."""
    pipeline = make_pipeline(tmp_path)
    for second in range(12):
        send(pipeline, second)
        pipeline.run()
    pipeline.log.append("shares", 0, later(pipeline._keys["seal"].identity, Kind.SHARES))
    pipeline.start("attach")
    pipeline.log.append("shares", 0, later(pipeline._keys["attach"].identity, Kind.SHARES))
    with pytest.raises(StateUnreadable, match=r"format version 3.* run that version"):
        pipeline.start("attach")


def test_a_release_is_not_carried_over_to_another_version(tmp_path: Path) -> None:
    """A signature of one version is none of the other, though body and values are the same."""
    pipeline = make_pipeline(tmp_path)
    for second in range(14):
        send(pipeline, second)
        pipeline.run()
    value = pipeline.log.values("releases-a")[-1]
    trusted = pipeline.controls["publish"].trusted.identities
    SignedRelease.decode(value).verify(trusted)
    other = with_section(value[:2] + b"\x01" + value[3:], 2, sections_of(value)[2])
    core = PublishCore(pipeline.controls["publish"], confidence=0.95, rho_limit=10.0)
    assert core.apply("a", other) is None
    assert core.refused == {("", "a", "signature"): 1}
