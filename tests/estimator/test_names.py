"""Names as people write them, against the names that the Census tables hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.census import load_given_names, load_surnames
from estimator.matching import NameMatcher
from estimator.names import MAX_NAME_CHARACTERS, NameMatch, given_name_forms, surname_forms, transliterate

EXACT, COLLAPSED, PART, UNMATCHED, MISSING = (
    NameMatch.EXACT,
    NameMatch.COLLAPSED,
    NameMatch.PART,
    NameMatch.UNMATCHED,
    NameMatch.MISSING,
)
SUFFIX = NameMatch.SUFFIX_REMOVED
SURNAMES = NameMatcher(load_surnames().codes, surname_forms)
GIVEN_NAMES = NameMatcher(load_given_names().codes, given_name_forms)


def matched(matcher: NameMatcher, name: str) -> tuple[str | None, NameMatch]:
    """The name of the table that is found, and how."""
    code = int(matcher.codes([name])[0])
    names = list(matcher._codes)
    return names[code - 1] if code else None, NameMatch(int(matcher.matches([name])[0]))


@pytest.mark.parametrize(
    ("written", "expected", "how", "why"),
    [
        ("Smith", "SMITH", EXACT, "case does not count"),
        ("  smith ", "SMITH", EXACT, "nor does space around"),
        ("Smith,", "SMITH", EXACT, "nor punctuation after"),
        ("O'Brien", "OBRIEN", COLLAPSED, "an apostrophe belongs to the word"),
        ("O’Brien", "OBRIEN", COLLAPSED, "whichever apostrophe it is"),
        ("O Brien", "OBRIEN", COLLAPSED, "the collapsed form comes first"),
        ("D'Angelo", "DANGELO", COLLAPSED, "the collapsed form comes first"),
        ("N'Diaye", "NDIAYE", COLLAPSED, "the collapsed form comes first"),
        ("Núñez", "NUNEZ", COLLAPSED, "marks are taken off"),
        ("Nun\u0303ez", "NUNEZ", COLLAPSED, "also when they are characters of their own"),
        ("Nguyễn", "NGUYEN", COLLAPSED, "a letter with two marks"),
        ("Strauß", "STRAUSS", EXACT, "sharp s is SS in upper case"),
        ("Østergaard", "OSTERGAARD", COLLAPSED, "a letter that no decomposition reaches"),
        ("Kołodziej", "KOLODZIEJ", COLLAPSED, "a letter that no decomposition reaches"),
        ("Əliyev", "ALIYEV", COLLAPSED, "a letter that no decomposition reaches"),
        ("Ｓｍｉｔｈ", "SMITH", COLLAPSED, "full-width letters are letters"),
        ("De La Cruz", "DELACRUZ", COLLAPSED, "a name with particles is one name in the table"),
        ("DE LA CRUZ", "DELACRUZ", COLLAPSED, "in capitals as well"),
        ("van der Berg", "VANDERBERG", COLLAPSED, "a name with particles is one name in the table"),
        ("St. John", "STJOHN", COLLAPSED, "full stops do not count"),
        ("McDonald", "MCDONALD", EXACT, "an inner capital does not split what the table holds whole"),
        ("Smith-Jones", "SMITHJONES", COLLAPSED, "the collapsed form comes first, and 100 people bear this one"),
        ("SmithJones", "SMITHJONES", EXACT, "written as the table has it"),
        ("Garcia-Kowalczyk", "GARCIA", PART, "else the first part of a compound"),
        ("GarciaKowalczyk", "GARCIA", PART, "also when an inner capital is all that parts it"),
        ("Garcia – Kowalczyk", "GARCIA", PART, "whichever dash it is"),
        ("Xyzzyq-Garcia", "GARCIA", PART, "else the next part"),
        ("Garcia de la Xyzzyq", "GARCIA", PART, "a particle belongs to what it introduces"),
        ("Xyzzyq de la Cruz", "DELACRUZ", PART, "a part is read with its particles"),
        ("de la Garcia", "GARCIA", PART, "and without them, where it is no name with them"),
        ("Ortega y Gasset", "ORTEGA", PART, "y introduces the second surname"),
        ("Al-Rashid", "ALRASHID", COLLAPSED, "an article belongs to the name after the hyphen"),
        ("Al-Xyzzyq Khan", "KHAN", PART, "an article alone is no part"),
        ("Le-Kowalczyk", "LE", PART, "before a hyphen Le is a surname, not a particle"),
        ("Smith (née Jones)", "SMITH", PART, "punctuation parts words"),
        ("Ananthanarayanan", "ANANTHANARAYANA", COLLAPSED, "the tables cut names after 15 letters"),
        ("Xyzzyq-Ananthanarayanan", "ANANTHANARAYANA", PART, "parts as well"),
        ("Smith2", "SMITH", EXACT, "digits are not letters"),
        ("GARCIA JR", "GARCIA", EXACT | SUFFIX, "a suffix of its own is removed"),
        ("Garcia, Jr.", "GARCIA", EXACT | SUFFIX, "with its punctuation"),
        ("García III", "GARCIA", COLLAPSED | SUFFIX, "and as a numeral"),
        ("Garcia Jr. MD", "GARCIA", EXACT | SUFFIX, "and two of them"),
        ("Garcia-Lopez IV", "GARCIALOPEZ", COLLAPSED | SUFFIX, "after a compound, too"),
        ("Garcia-Kowalczyk IV", "GARCIA", PART | SUFFIX, "of which only a part is found"),
        ("Le V", "LE", EXACT | SUFFIX, "before the collapsed form, which would be another people's name (LEV)"),
        ("Nasr", "NASR", EXACT, "ends in SR, which is no suffix inside a word"),
        ("Aviv", "AVIV", EXACT, "ends in IV, which is no suffix inside a word"),
        ("II", "II", EXACT, "a suffix that is the whole name is a name"),
        ("Van", "VAN", EXACT, "a particle that is the whole name is a name"),
        ("Null", "NULL", EXACT, "words that software takes for missing are names"),
        ("True", "TRUE", EXACT, "words that software takes for booleans are names"),
        ("Иванов Smith", "SMITH", COLLAPSED, "words in other scripts fall away"),
        ("", None, MISSING, "nothing is written"),
        ("   ", None, MISSING, "nothing but space"),
        ("12345", None, UNMATCHED, "digits are not letters"),
        ("😀", None, UNMATCHED, "an emoji is not a letter"),
        ("محمد", None, UNMATCHED, "right-to-left script: no transliteration is tried, geography decides"),
        ("김", None, UNMATCHED, "Hangul: no transliteration is tried, geography decides"),
        ("Q", None, UNMATCHED, "one letter is an initial"),
        ("Q. Xyzzyq", None, UNMATCHED, "an initial before a name that is not in the table"),
        ("Garcia" * 2000, None, UNMATCHED, "12,000 characters are no name"),
        ("A" * 10_000, None, UNMATCHED, "nor are 10,000"),
        ("van der Xyzzyq", None, UNMATCHED, "VAN alone would be another people's name"),
        ("McXyzzyq", None, UNMATCHED, "MC alone is no name"),
        ("Xyzzyq", None, UNMATCHED, "fewer than 100 people bear it"),
        ("Xyzzyq Jr", None, UNMATCHED, "a suffix makes no name"),
    ],
)
def test_surnames(written: str, expected: str | None, how: NameMatch, why: str) -> None:
    """A family name is found under the form in which the table has it, is told how, and else is not guessed."""
    assert matched(SURNAMES, written) == (expected, how), why


@pytest.mark.parametrize(
    ("written", "expected", "how", "why"),
    [
        ("mary", "MARY", EXACT, "case does not count"),
        ("José", "JOSE", COLLAPSED, "marks are taken off"),
        ("D'Andre", "DANDRE", COLLAPSED, "an apostrophe belongs to the word"),
        ("D Andre", "DANDRE", COLLAPSED, "d introduces a name, and is no initial"),
        ("DeShawn", "DESHAWN", EXACT, "an inner capital does not split what the table holds whole"),
        ("La Toya", "LATOYA", COLLAPSED, "the collapsed form comes first"),
        ("Mary Ann", "MARYANN", COLLAPSED, "the collapsed form comes first"),
        ("Jean-Paul", "JEANPAUL", COLLAPSED, "the collapsed form comes first"),
        ("Mary Xyzzyq", "MARY", PART, "else the first word"),
        ("Mary-Xyzzyq", "MARY", PART, "or what stands before the hyphen"),
        ("Xyzzyq-Mary", "MARY", PART, "else the next part"),
        ("María José", "MARIAJOSE", COLLAPSED, "with marks as well"),
        ("Mary B.", "MARY", PART, "an initial falls away"),
        ("Mari A", "MARI", PART, "and never makes another name (MARIA)"),
        ("J. Robert", "ROBERT", PART, "also in front"),
        ("D. Robert", "ROBERT", PART, "also where it could introduce the name"),
        ("La Toya Xyzzyq", "LATOYA", PART, "la is read with what it introduces"),
        ("Abdul Xyzzyq Khalid", "KHALID", PART, "and is no name of its own before another word"),
        ("Ben Xyzzyq", "BEN", PART, "a surname's particle can be a given name"),
        ("Robert Jr.", "ROBERT", EXACT | SUFFIX, "a suffix is removed"),
        ("John III", "JOHN", EXACT | SUFFIX, "and as a numeral"),
        ("Thúy", "THUY", COLLAPSED, "marks are taken off"),
        ("J", None, UNMATCHED, "an initial is no name"),
        ("J. R.", None, UNMATCHED, "nor are two, whatever their letters spell"),
        ("M. A.", None, UNMATCHED, "(MA is a name)"),
        ("", None, MISSING, "nothing is written"),
        ("\t", None, MISSING, "nothing but space"),
        ("😀", None, UNMATCHED, "an emoji is not a letter"),
        ("42", None, UNMATCHED, "digits are not letters"),
        ("محمد", None, UNMATCHED, "right-to-left script: no transliteration is tried"),
        ("Mary" * 2500, None, UNMATCHED, "10,000 characters are no name"),
        ("Xyzzyq", None, UNMATCHED, "fewer than 90 people bear it"),
    ],
)
def test_given_names(written: str, expected: str | None, how: NameMatch, why: str) -> None:
    """A given name is found whole, else by its words in order; initials say nothing; and is told how."""
    assert matched(GIVEN_NAMES, written) == (expected, how), why


@given(st.text(max_size=300))
def test_any_text_gives_letters_only(text: str) -> None:
    """Whatever is typed, every form that is looked up consists of letters A to Z, and nothing raises."""
    for form, match in (*surname_forms(text), *given_name_forms(text)):
        assert form.isascii() and form.isalpha() and form == form.upper()
        assert match & ~SUFFIX in (EXACT, COLLAPSED, PART)


@given(st.text(max_size=30))
def test_flags_and_codes_agree(text: str) -> None:
    """A name has a code just when its flags say that it was matched, and exactly one of the kinds of match is set."""
    for matcher in (SURNAMES, GIVEN_NAMES):
        code, match = int(matcher.codes([text])[0]), NameMatch(int(matcher.matches([text])[0]))
        kind = match & ~SUFFIX
        assert (code > 0) == (kind in (EXACT, COLLAPSED, PART))
        assert (kind is MISSING) == (not text.strip())


@given(st.sampled_from(sorted(load_surnames().codes)))
def test_every_surname_of_the_table_matches_itself(name: str) -> None:
    """No rule about suffixes, particles or parts takes a name of the table away from itself, in either case."""
    assert next(surname_forms(name)) == (name, EXACT)
    assert matched(SURNAMES, name.title()) == (name, EXACT)


@given(st.sampled_from(sorted(load_given_names().codes)))
def test_every_given_name_of_the_table_matches_itself(name: str) -> None:
    """Nor do those of given names."""
    assert next(given_name_forms(name)) == (name, EXACT)
    assert matched(GIVEN_NAMES, name.title()) == (name, EXACT)


def test_transliterate_keeps_ascii_as_it_is() -> None:
    """Plain names are left alone, case included, so that inner capitals can still part a compound."""
    assert transliterate("SmithJones") == "SmithJones"
    assert transliterate("Çelik") == "Celik"


def test_time_does_not_grow_with_what_is_typed() -> None:
    """A ten-megabyte name costs no more than a short one: it is refused by its length."""
    started = time.perf_counter()
    for forms in (surname_forms, given_name_forms):
        assert not list(forms("é" * 10_000_000))
        assert not list(forms("A" * (MAX_NAME_CHARACTERS + 1)))
    assert time.perf_counter() - started < 0.5  # decomposing it would take seconds
