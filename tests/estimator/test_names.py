"""Names as people write them, against the names that the Census tables hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.census import load_census
from estimator.names import MAX_NAME_CHARACTERS, candidates, transliterate


def matched(name: str) -> str | None:
    table = load_census().surnames
    return next((form for form in candidates(name) if form in table), None)


@pytest.mark.parametrize(
    ("written", "expected", "why"),
    [
        ("Smith", "SMITH", "case does not count"),
        ("  smith ", "SMITH", "nor does space around"),
        ("O'Brien", "OBRIEN", "an apostrophe belongs to the word"),
        ("O’Brien", "OBRIEN", "whichever apostrophe it is"),
        ("O Brien", "OBRIEN", "the collapsed form comes first"),
        ("D'Angelo", "DANGELO", "the collapsed form comes first"),
        ("N'Diaye", "NDIAYE", "the collapsed form comes first"),
        ("Núñez", "NUNEZ", "marks are taken off"),
        ("Nun\u0303ez", "NUNEZ", "also when they are characters of their own"),
        ("Nguyễn", "NGUYEN", "a letter with two marks"),
        ("Strauß", "STRAUSS", "sharp s is spelt out"),
        ("Østergaard", "OSTERGAARD", "a letter that no decomposition reaches"),
        ("Kołodziej", "KOLODZIEJ", "a letter that no decomposition reaches"),
        ("Əliyev", "ALIYEV", "a letter that no decomposition reaches"),
        ("Ｓｍｉｔｈ", "SMITH", "full-width letters are letters"),
        ("De La Cruz", "DELACRUZ", "a name with particles is one name in the table"),
        ("DE LA CRUZ", "DELACRUZ", "in capitals as well"),
        ("van der Berg", "VANDERBERG", "a name with particles is one name in the table"),
        ("St. John", "STJOHN", "full stops do not count"),
        ("McDonald", "MCDONALD", "an inner capital does not split what the table holds whole"),
        ("Smith-Jones", "SMITHJONES", "the collapsed form comes first, and 100 people bear this one"),
        ("SmithJones", "SMITHJONES", "the collapsed form comes first"),
        ("Garcia-Kowalczyk", "GARCIA", "else the first part of a compound"),
        ("GarciaKowalczyk", "GARCIA", "also when an inner capital is all that parts it"),
        ("Garcia – Kowalczyk", "GARCIA", "whichever dash it is"),
        ("Xyzzyq-Garcia", "GARCIA", "else the next part"),
        ("Garcia de la Xyzzyq", "GARCIA", "a particle belongs to what it introduces"),
        ("Xyzzyq de la Cruz", "DELACRUZ", "a part is read with its particles"),
        ("Ortega y Gasset", "ORTEGA", "y introduces the second surname"),
        ("Al-Rashid", "ALRASHID", "an article belongs to the name after the hyphen"),
        ("Al-Xyzzyq Khan", "KHAN", "an article alone is no part"),
        ("Le-Kowalczyk", "LE", "before a hyphen Le is a surname, not a particle"),
        ("Smith (née Jones)", "SMITH", "punctuation parts words"),
        ("Smith2", "SMITH", "digits are not letters"),
        ("GARCIA JR", "GARCIA", "a suffix of its own is removed"),
        ("Garcia, Jr.", "GARCIA", "with its punctuation"),
        ("Garcia III", "GARCIA", "and as a numeral"),
        ("Garcia-Lopez IV", "GARCIALOPEZ", "after a compound, too"),
        ("Le V", "LE", "before the collapsed form, which would be another people's name (LEV)"),
        ("Nasr", "NASR", "ends in SR, which is no suffix inside a word"),
        ("Aviv", "AVIV", "ends in IV, which is no suffix inside a word"),
        ("II", "II", "a suffix that is the whole name is a name"),
        ("Van", "VAN", "a particle that is the whole name is a name"),
        ("Null", "NULL", "words that software takes for missing are names"),
        ("True", "TRUE", "words that software takes for booleans are names"),
        ("Иванов Smith", "SMITH", "words in other scripts fall away"),
    ],
)
def test_matches(written: str, expected: str, why: str) -> None:
    """A name that people write is found under the form in which the Census table has it."""
    assert matched(written) == expected, why


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "nothing is written"),
        ("   ", "nothing but space"),
        ("12345", "digits are not letters"),
        ("😀", "an emoji is not a letter"),
        ("محمد", "right-to-left script: no transliteration is tried, geography decides"),
        ("김", "Hangul: no transliteration is tried, geography decides"),
        ("Q", "one letter is an initial"),
        ("Garcia" * 2000, "12,000 characters are no name"),
        ("van der Xyzzyq", "VAN alone would be another people's name"),
        ("McXyzzyq", "MC alone is no name"),
        ("Xyzzyq", "fewer than 100 people bear it"),
    ],
)
def test_does_not_match(written: str, why: str) -> None:
    """What is no name, or not safely one of the table's, is unmatched rather than guessed."""
    assert matched(written) is None, why


@given(st.text(max_size=300))
def test_any_text_gives_letters_only(text: str) -> None:
    """Whatever is typed, every form that is looked up consists of letters A to Z, and nothing raises."""
    for form in candidates(text):
        assert form.isascii() and form.isalpha() and form == form.upper()


@given(st.sampled_from(sorted(load_census().surnames)))
def test_every_name_of_the_table_matches_itself(name: str) -> None:
    """No rule about suffixes, particles or parts takes a name of the table away from itself, in either case."""
    assert next(candidates(name)) == name
    assert matched(name.title()) == name


def test_transliterate_keeps_ascii_as_it_is() -> None:
    """Plain names are left alone, case included, so that inner capitals can still part a compound."""
    assert transliterate("SmithJones") == "SmithJones"
    assert transliterate("Çelik") == "Celik"


def test_time_does_not_grow_with_what_is_typed() -> None:
    """A ten-megabyte name costs no more than a short one: it is refused by its length."""
    started = time.perf_counter()
    assert not list(candidates("é" * 10_000_000))
    assert not list(candidates("A" * (MAX_NAME_CHARACTERS + 1)))
    assert time.perf_counter() - started < 0.5  # decomposing it would take seconds
