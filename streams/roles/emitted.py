"""What `fairness-metrics` holds already, as `publish` needs it at start: which windows need no estimation again.

Adding two releases and estimating from them takes `publish` some milliseconds a window, a hundred times what reading
them takes. A window whose record lies on `fairness-metrics` is not emitted again, so of it only four things matter:
what to count it as, which groups `corrected` pooled, what its rectifier corrects, and the evidence that the next window
goes on from. All but the third are in the record; that one is worked out from the releases when a window asks for it
(``PublishCore``). Evidence takes some kilobytes a window, so it is kept of the last few windows of a level alone: where
any before them has to be estimated, ``detecting`` says what is done.

Only records that publish has signed are read (``records.published``); any other is as though it were not there, so its
window is estimated from the releases and written. One that is signed is believed so far only if it rests on the two
releases that were read and verified: it names their signatures and their spec. The newest window of each level is never
taken from its record, nor is the newest that says something: /metrics shows the numbers of the one and the evidence
after the other, and those come from the releases.
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

import msgspec

from estimator.disparity import NOT_SEPARABLE
from streams.records.metric import Status
from streams.records.published import PublishedRecord
from streams.records.release import SignedRelease

_KEPT = 4
"""Windows of a level whose evidence is kept: one before the newest would do, were no record ever damaged."""

_NOTHING = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a window, without its numbers."""

    measurement: str
    level: str
    status: Status
    reason: str | None
    pools: tuple[str, ...] | None = None
    """The groups of `corrected`, where it separated any."""
    detection: bytes | None = None
    """The record's part of this name, JSON; None where it was not kept, or is not there."""


class _Result(msgspec.Struct):
    metric: str
    score_bin: str
    group: str
    estimator: str
    suppressed: str | None


class _Checks(msgspec.Struct):
    release_signature_a: str
    release_signature_b: str


class _Window(msgspec.Struct):
    end_ms: int


class _Record(msgspec.Struct):
    """The fields of a `FairnessMetric` that are needed here; the others are skipped, unread."""

    measurement: str
    level: str
    spec_sha256: str
    window: _Window
    status: Status
    reason: str | None
    results: list[_Result]
    checks: _Checks | None
    detection: msgspec.Raw = _NOTHING


_decoder = msgspec.json.Decoder(_Record)


class EmittedWindows:
    """See the module's text; holds some 200 bytes a window.

    Args:
        from_releases: levels, (measurement, level), of which no outcome is taken from a record.
    """

    def __init__(self, from_releases: Collection[tuple[str, str]] = ()) -> None:
        self._from_releases = from_releases
        self._versions: dict[bytes, int] = {}
        self._outcomes: dict[bytes, tuple[bytes, Outcome]] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._newest_said: dict[tuple[str, str], tuple[int, bool]] = {}
        """The end of the newest window that says something, and whether its record has evidence."""
        self._detections: dict[tuple[str, str], deque[tuple[int, bytes]]] = {}

    def read(self, signed: PublishedRecord) -> None:
        """Take in one record of the topic, in its order."""
        key, version = signed.key, signed.version
        self.note(key, version)
        self._outcomes.pop(key, None)  # the last record under a key is what stands
        try:
            record = _decoder.decode(signed.value)
            names = None if record.checks is None else _digest(record)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            return  # no build has written it: the window is estimated again
        if key != f"{record.measurement}/{record.level}/{record.window.end_ms}".encode():
            return
        level = sys.intern(record.measurement), sys.intern(record.level)
        end_ms = record.window.end_ms
        self._newest[level] = max(end_ms, self._newest.get(level, 0))
        if record.status in ("published", "suppressed"):
            gathered = record.detection != _NOTHING
            self._newest_said[level] = max((end_ms, gathered), self._newest_said.get(level, (0, False)))
            if gathered:
                kept = self._detections.setdefault(level, deque(maxlen=_KEPT))
                kept.append((end_ms, bytes(record.detection)))
        if version == 1 and names is not None and record.status != "withdrawn" and level not in self._from_releases:
            self._outcomes[key] = names, Outcome(*level, record.status, record.reason, _pools(record.results))

    def note(self, key: bytes, version: int) -> None:
        """A window's record is on the topic, or on its way there."""
        self._versions[key] = max(version, self._versions.get(key, 0))

    def version(self, key: bytes) -> int:
        """Of the record under a key; 0 where there is none."""
        return self._versions.get(key, 0)

    def outcome(self, a: SignedRelease, b: SignedRelease) -> Outcome | None:
        """What became of the window of two releases; None where they must be added to say so. Asked once a window."""
        release = a.release
        level, end_ms = (release.measurement, release.level), release.end_ms
        if self._is_shown(level, end_ms):
            return None
        names, outcome = self._outcomes.pop(release.topic_key(), (b"", None))
        if outcome is None or names != _of(release.spec, a.signature, b.signature):
            return None
        kept = next((kept for end, kept in reversed(self._detections.get(level, ())) if end == end_ms), None)
        return outcome if kept is None else replace(outcome, detection=kept)

    def newest_end_ms(self, measurement: str, level: str) -> int:
        """End of the newest window of a level whose record was read, epoch milliseconds; 0 where none was."""
        return self._newest.get((measurement, level), 0)

    def lacks_evidence(self, a: SignedRelease, b: SignedRelease) -> bool:
        """Whether this is the newest window of its level that says something, and its record rests on these releases
        and has no evidence, as those of an earlier version have not."""
        release = a.release
        names, _ = self._outcomes.get(release.topic_key(), (b"", None))
        newest = self._newest_said.get((release.measurement, release.level))
        return newest == (release.end_ms, False) and names == _of(release.spec, a.signature, b.signature)

    def _is_shown(self, level: tuple[str, str], end_ms: int) -> bool:
        return end_ms >= self._newest.get(level, 0) or end_ms == self._newest_said.get(level, (0, False))[0]


def _digest(record: _Record) -> bytes:
    assert record.checks is not None
    signatures = (record.checks.release_signature_a, record.checks.release_signature_b)
    return _of(bytes.fromhex(record.spec_sha256), *map(bytes.fromhex, signatures))


def _of(spec: bytes, signature_a: bytes, signature_b: bytes) -> bytes:
    """What a record rests on, in 16 bytes: all three have fixed lengths."""
    return hashlib.sha256(spec + signature_a + signature_b).digest()[:16]


def _pools(results: list[_Result]) -> tuple[str, ...] | None:
    corrected = [result for result in results if result.estimator == "corrected"]
    if not corrected or corrected[0].suppressed == NOT_SEPARABLE:
        return None
    first = corrected[0].metric, corrected[0].score_bin
    return tuple(sys.intern(r.group) for r in corrected if (r.metric, r.score_bin) == first)
