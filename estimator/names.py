"""Names as people write them, matched to names as the Census tables hold them (upper-case letters A to Z, no spaces).

A name is read as words. A word is a run of letters; apostrophes belong to it, and so do marks, which are taken off.
Generational suffixes that stand as words of their own are removed first ("GARCIA JR"; but NASR ends in SR and AVIV in
IV, and both stay whole). Then, in this order (DESIGN section 4):

1. the whole name collapsed to its letters: "O'Brien" -> OBRIEN, "De La Cruz" -> DELACRUZ, "Núñez" -> NUNEZ;
2. the parts of a compound, in the order in which they are written: "Smith-Jones" -> SMITH, "SmithJones" -> SMITH.

Particles (de, la, van, mac, ...) are read with the word they introduce, and not as parts: without that, "van der Xyz"
would match VAN, which in the United States is mostly a Vietnamese surname.

Given names are read likewise, but initials fall away first ("Mary B." -> MARY, "J. Robert" -> ROBERT; "J. R." is
unmatched), and only a few particles begin them ("La Toya", "Abdul Rahman"): Ben, Mac or Van are given names themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import IntFlag

MAX_NAME_CHARACTERS = 200
"""Longer names are unmatched: no surname is that long, and time must not depend on what someone typed."""

_TABLE_LETTERS = 15
"""The Bureau's surnames are cut after this many letters: ANANTHANARAYANA stands for Ananthanarayanan."""


class NameMatch(IntFlag):
    """How a name was matched: none of the bits where nothing was written, else one of the first four and the suffix's.

    No bit says which name it was, or what the table has of it.
    """

    MISSING = 0
    EXACT = 1
    """As the table has it, but for upper and lower case and what is no letter around it."""
    COLLAPSED = 2
    """Its letters together: marks taken off, words and hyphens joined."""
    PART = 4
    """A part of it: of a compound, or without initials."""
    UNMATCHED = 8
    """No form of it is in the table."""
    SUFFIX_REMOVED = 16
    """A generational suffix was removed; together with one of the others."""


_SUFFIXES = frozenset(("JR", "SR", "II", "III", "IV", "V", "ESQ", "MD", "PHD"))
# Introduce the next word after a space or an inner capital ("de Souza", "MacXyz"), but not after a hyphen, where they
# are names themselves ("Le-Smith").
_PARTICLES = frozenset(
    (
        "A", "BEN", "D", "DA", "DAS", "DE", "DEL", "DELA", "DELLA", "DEN", "DER", "DES", "DI", "DO", "DOS", "DU", "E",
        "FITZ", "L", "LA", "LAS", "LE", "LOS", "LOU", "MAC", "MC", "O", "SAINT", "SAN", "SANTA", "ST", "TE", "TEN",
        "TER", "VAN", "VANDEN", "VANDER", "VON", "Y", "ZU", "ZUM", "ZUR",
    )
)  # fmt: skip
# Introduce the next word after a hyphen as well ("Al-Rashid").
_ARTICLES = frozenset(("ABD", "ABDUL", "ABU", "AL", "BIN", "EL", "IBN", "UL"))

# Those of given names: others (Ben, Mac, San, Van, ...) are given names themselves.
_GIVEN_PARTICLES = frozenset(("ABD", "ABDUL", "ABU", "D", "DA", "DE", "DU", "LA", "LE"))

_APOSTROPHES_AND_INVISIBLE = re.compile("['’‘ʻʼʽ`´＇\u00ad\u200b-\u200f\u2060\ufeff]")
_INNER_CAPITAL = re.compile("(?<=[a-z])(?=[A-Z])")
_HYPHENS = re.compile("[-‐‑‒–—―−/]")
_WORD = re.compile(r"[^\W\d_]+")
_A_TO_Z = re.compile("[A-Z]+")
# Letters that no Unicode decomposition turns into A to Z.
_LETTERS = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o", "Ł": "L", "ł": "l",
        "Đ": "D", "đ": "d", "Ð": "D", "ð": "d", "Þ": "TH", "þ": "th", "ı": "i", "Ħ": "H", "ħ": "h", "Ŋ": "NG",
        "ŋ": "ng", "Ŧ": "T", "ŧ": "t", "Ə": "A", "ə": "a", "Ɓ": "B", "ɓ": "b", "Ɗ": "D", "ɗ": "d", "Ƙ": "K", "ƙ": "k",
    }
)  # fmt: skip


def transliterate(name: str) -> str:
    """Take marks off and spell special letters out: "Nguyễn" -> "Nguyen", "Łukasz" -> "Lukasz". Keeps the case."""
    if name.isascii():
        return name
    decomposed = unicodedata.normalize("NFKD", _APOSTROPHES_AND_INVISIBLE.sub("", name).translate(_LETTERS))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


Form = tuple[str, NameMatch]
"""A form under which a name is looked up, and how it would be matched by it."""


def surname_forms(name: str) -> Iterator[Form]:
    """The forms under which a family name is looked up, best first; none for a name without a word of letters A to Z.

    Words in other scripts fall away: a name in Arabic or Hangul letters alone is unmatched, and geography decides.
    """
    segments, suffixes = _segments(name)
    whole = "".join(word for segment in segments for word in segment)
    if not whole:
        return
    if len(whole) > _TABLE_LETTERS:
        yield whole[:_TABLE_LETTERS], _with_suffix(NameMatch.COLLAPSED, suffixes)
    else:
        yield whole, _whole_match(name, whole, suffixes)
    for part in _parts(segments, _PARTICLES, _ARTICLES):
        if part != whole:
            yield part[:_TABLE_LETTERS], _with_suffix(NameMatch.PART, suffixes)


def given_name_forms(name: str) -> Iterator[Form]:
    """The forms under which a given name is looked up, best first; none for initials alone."""
    segments, suffixes = _segments(name)
    words = [word for segment in segments for word in segment]
    named = [word for k, word in enumerate(words) if len(word) > 1 or (word in _GIVEN_PARTICLES and k == 0)]
    if not any(len(word) > 1 for word in named):
        return
    whole = "".join(named)
    match = _whole_match(name, whole, suffixes)
    yield whole, match if len(named) == len(words) else _with_suffix(NameMatch.PART, suffixes)
    for part in _parts([named], _GIVEN_PARTICLES, frozenset()):
        if part != whole:
            yield part, _with_suffix(NameMatch.PART, suffixes)


def _whole_match(name: str, whole: str, suffixes: list[str]) -> NameMatch:
    written = name.strip().upper()
    rest = written[len(whole) :]
    exact = written.startswith(whole) and not rest[:1].isalpha() and _WORD.findall(rest) == suffixes
    return _with_suffix(NameMatch.EXACT if exact else NameMatch.COLLAPSED, suffixes)


def _with_suffix(match: NameMatch, suffixes: list[str]) -> NameMatch:
    return match | NameMatch.SUFFIX_REMOVED if suffixes else match


def _segments(name: str) -> tuple[list[list[str]], list[str]]:
    """Words in upper case, in a list for each stretch between hyphens; and the suffixes that were removed from them."""
    if len(name) > MAX_NAME_CHARACTERS:
        return [], []
    text = _INNER_CAPITAL.sub(" ", _APOSTROPHES_AND_INVISIBLE.sub("", transliterate(name)))
    segments = [
        [word for word in _WORD.findall(stretch.upper()) if _A_TO_Z.fullmatch(word)] for stretch in _HYPHENS.split(text)
    ]
    segments = [segment for segment in segments if segment]
    suffixes: list[str] = []
    while segments and segments[-1][-1] in _SUFFIXES and (len(segments) > 1 or len(segments[0]) > 1):
        suffixes.insert(0, segments[-1].pop())
        segments = [segment for segment in segments if segment]
    return segments, suffixes


def _parts(segments: list[list[str]], particles: frozenset[str], articles: frozenset[str]) -> Iterator[str]:
    """The parts of a compound, each with its particles and then without; one letter is an initial, and no name."""
    for words in _introduced(segments, particles, articles):
        if len(words) > 1:
            yield "".join(words)
        if len(words[-1]) > 1:
            yield words[-1]


def _introduced(segments: list[list[str]], particles: frozenset[str], articles: frozenset[str]) -> Iterator[list[str]]:
    """Words that belong together: particles with what they introduce."""
    waiting: list[str] = []
    for segment in segments:
        last = len(segment) - 1
        for place, word in enumerate(segment):
            waiting.append(word)
            if not (word in articles or (word in particles and place < last)):
                yield waiting
                waiting = []
    if waiting and len(waiting[-1]) > 1:
        yield waiting
