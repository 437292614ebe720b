"""What a reviewer decided about an alarm: its cause, what is to be done, and what follows.

An alarm is a concern that the monitor itself raises. A disposition is therefore the `answer` to a concern whose id is
made of the alarm's, and its text is the JSON object below: to every reader of the log, older ones included, it is an
answer like any other, with its place in the chain. A kind of its own would not be: who does not know a kind takes its
record for none, and every record after it for one out of order (``privacy.decisions``).

Several dispositions of one alarm may stand; the last one counts, and nothing takes one back.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import asdict, dataclass, fields

from privacy.errors import DecisionRefused
from privacy.revocation import YEAR_10000_MS

CAUSES = {
    "recommender": "a change of the recommender: a release, its training data, its settings",
    "input": "what the recommender is fed with: a feed or a feature that changed or broke",
    "rules": "a rule beside the recommender: filters, promotions, a pool of candidates",
    "members": "who takes part has changed, or what they do",
    "measurement": "the measurement itself: its outcome, its cells, its group probabilities",
    "chance": "nothing was found: a false alarm, of which some are to be expected",
    "unknown": "not found yet",
    "other": "something else, which the reason says",
}
"""Why an alarm came about, as far as reviewers found; by its word in a record."""

DECISIONS = {
    "investigate": "look further: the review stays open, and its deadline stands",
    "change": "the recommender, or what feeds it, is to be changed by those who run it",
    "watch": "leave all as it is, and watch",
    "revise": "a later revision of the measurement is to be proposed",
    "stop": "the measurement is to be revoked",
    "other": "something else, which the reason says",
}
"""What is to be done; by its word in a record. Nothing is done by the record itself."""

STILL_OPEN = frozenset({"investigate"})
"""Decisions that leave the review open."""

MAX_FREE_TEXT = 500
"""Characters of a reason and of a follow-up."""
MAX_TEXT = 2000
"""Characters of the whole, which is an answer's text."""

_PREFIX = "alarm."
_ALARM = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:/[A-Za-z0-9_.+-]{1,300}){4}/(?:0|[1-9][0-9]{0,15})")
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_alarm(name: str) -> bool:
    """Whether this can be an alarm's id: MEASUREMENT/LEVEL/METRIC/SCORE-BIN/GROUP/MILLISECONDS, plain characters."""
    return bool(_ALARM.fullmatch(name)) and int(name.rpartition("/")[2]) < YEAR_10000_MS


def is_review(concern: str) -> bool:
    """Whether a concern's id is that of an alarm's review; people's concerns have 32 hexadecimal digits."""
    return concern.startswith(_PREFIX)


def review_of(alarm: str) -> str:
    """The id under which an alarm is answered: ``alarm.`` and the first 32 digits of the SHA-256 of the alarm's id."""
    return _PREFIX + hashlib.sha256(alarm.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Disposition:
    """One reviewer's word on an alarm.

    Attributes:
        alarm: its id: measurement/level/metric/score bin/group/end of the window with which it began, epoch ms.
        cause: one of :data:`CAUSES`.
        decision: one of :data:`DECISIONS`.
        follow_up: what happens next, and who does it, for everyone to read.
        reason: what was found; may be empty unless cause or decision is "other".

    Raises:
        DecisionRefused: a word is none of these, or a text is empty, too long or no plain text.
    """

    alarm: str
    cause: str
    decision: str
    follow_up: str
    reason: str = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            if type(getattr(self, item.name)) is not str:
                raise DecisionRefused(f"{item.name.replace('_', '-')} is text")
        if not is_alarm(self.alarm):
            raise DecisionRefused(
                "expected an alarm's id, MEASUREMENT/LEVEL/METRIC/SCORE-BIN/GROUP/MILLISECONDS, as "
                "`evenstream review list` names them"
            )
        _one_of("cause", self.cause, CAUSES)
        _one_of("decision", self.decision, DECISIONS)
        _check_plain("follow-up", self.follow_up)
        if self.reason or "other" in (self.cause, self.decision):
            _check_plain("reason", self.reason)
        if len(self._json()) > MAX_TEXT:
            raise DecisionRefused(f"a disposition has at most {MAX_TEXT} characters in all; shorten its texts")

    @property
    def review(self) -> str:
        """The id of what it answers."""
        return review_of(self.alarm)

    @property
    def measurement(self) -> str:
        """The id of the measurement whose alarm it is."""
        return self.alarm.partition("/")[0]

    @property
    def since_ms(self) -> int:
        """When the alarm began: the end of the window with which it did, epoch milliseconds."""
        return int(self.alarm.rpartition("/")[2])

    @property
    def closes(self) -> bool:
        """Whether the review is closed while this is its last word."""
        return self.decision not in STILL_OPEN

    def _json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def encode(self) -> str:
        """The text of the answer: JSON with sorted keys and no spaces."""
        return self._json()

    @classmethod
    def decode(cls, review: str, text: str) -> Disposition:
        """Read the text of an answer to a review, or raise :class:`DecisionRefused`.

        Args:
            review: the id that was answered, which must be that of the alarm in the text.
        """
        try:
            content = json.loads(text)
            if set(content) != {item.name for item in fields(cls)}:
                raise ValueError
            found = cls(**content)
            if found.encode() != text:
                raise ValueError
        except (ValueError, TypeError, RecursionError):
            raise DecisionRefused(
                "it answers an alarm, but is no disposition: expected canonical JSON with alarm, cause, decision, "
                "follow_up and reason"
            ) from None
        if found.review != review:
            raise DecisionRefused("it is put under another alarm's id than the one that it speaks of")
        return found


@dataclass(frozen=True)
class SignedDisposition:
    """A disposition in its place on the log.

    Attributes:
        sequence, at_ms: of its record; ``at_ms`` is the reviewer's clock. key_id: who signed it.
        log_ms: the latest such time of the records before it on the log, 0 where there are none.
    """

    disposition: Disposition
    sequence: int
    at_ms: int
    key_id: str
    log_ms: int = 0

    @property
    def is_premature(self) -> bool:
        """Whether it was signed before the alarm began, by its own word: then it decides nothing."""
        return self.at_ms < self.disposition.since_ms

    @property
    def is_behind(self) -> bool:
        """Whether its reviewer's clock is behind the log: it was signed later than it says."""
        return self.at_ms < self.log_ms


def _one_of(name: str, word: str, known: dict[str, str]) -> None:
    if word not in known:
        raise DecisionRefused(f"{name} is one of {', '.join(known)}")


def _check_plain(name: str, text: str) -> None:
    if not 1 <= len(text.strip()) <= len(text) <= MAX_FREE_TEXT:
        raise DecisionRefused(f"{name} has 1 to {MAX_FREE_TEXT} characters")
    if any((unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c != "\n") or c in _TURNS for c in text):
        raise DecisionRefused(f"{name} is plain text: no control characters, and none that turn the text's direction")
