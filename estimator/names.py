"""Names as people write them, matched to names as the Census tables hold them (upper-case letters A to Z, no spaces).

A name is read as words. A word is a run of letters; apostrophes belong to it, and so do marks, which are taken off.
Generational suffixes that stand as words of their own are removed first ("GARCIA JR"; but NASR ends in SR and AVIV in
IV, and both stay whole). Then, in this order (DESIGN section 4):

1. the whole name collapsed to its letters: "O'Brien" -> OBRIEN, "De La Cruz" -> DELACRUZ, "Núñez" -> NUNEZ;
2. the parts of a compound, in the order in which they are written: "Smith-Jones" -> SMITH, "SmithJones" -> SMITH.

Particles (de, la, van, mac, ...) are read with the word they introduce, and not as parts: without that, "van der Xyz"
would match VAN, which in the United States is mostly a Vietnamese surname.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_NAME_CHARACTERS = 200
"""Longer names are unmatched: no surname is that long, and time must not depend on what someone typed."""

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


def candidates(name: str) -> Iterator[str]:
    """The forms under which a name is looked up, best first; none for a name without a word of letters A to Z.

    Words in other scripts fall away: a name in Arabic or Hangul letters alone is unmatched, and geography decides.
    """
    if len(name) > MAX_NAME_CHARACTERS:
        return
    segments = _segments(name)
    whole = "".join(word for segment in segments for word in segment)
    if not whole:
        return
    yield whole
    for part in _parts(segments):
        joined = "".join(part)
        if joined != whole:
            yield joined
        # One letter is an initial, not a surname.
        if len(part) > 1 and len(part[-1]) > 1:
            yield part[-1]


def _segments(name: str) -> list[list[str]]:
    """Words in upper case, in a list for each stretch between hyphens; suffixes removed."""
    text = _INNER_CAPITAL.sub(" ", _APOSTROPHES_AND_INVISIBLE.sub("", transliterate(name)))
    segments = [
        [word for word in _WORD.findall(stretch.upper()) if _A_TO_Z.fullmatch(word)] for stretch in _HYPHENS.split(text)
    ]
    segments = [segment for segment in segments if segment]
    while segments and segments[-1][-1] in _SUFFIXES and (len(segments) > 1 or len(segments[0]) > 1):
        segments[-1].pop()
        segments = [segment for segment in segments if segment]
    return segments


def _parts(segments: list[list[str]]) -> Iterator[list[str]]:
    """Words that belong together: particles with what they introduce."""
    waiting: list[str] = []
    for segment in segments:
        last = len(segment) - 1
        for place, word in enumerate(segment):
            waiting.append(word)
            introduces = word in _ARTICLES or (word in _PARTICLES and place < last)
            if not introduces:
                if len(waiting) > 1 or len(word) > 1:
                    yield waiting
                waiting = []
    if waiting and len(waiting[-1]) > 1:
        yield waiting
