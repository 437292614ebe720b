"""The canary's eyes: whatever is planted is found, in any encoding, at any offset, across any cut; and nothing else."""

from __future__ import annotations

import base64
import json
import urllib.parse
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator import RaceModel, to_fixed_point
from secure_agg import SCALE
from streams.canary.encodings import (
    SHORTEST,
    Trace,
    to_integers,
    traces_of_integers,
    traces_of_text,
    traces_of_vectors,
)
from streams.canary.members import Canaries
from streams.canary.search import Searched, Searcher

TEXT = "canary-5f\u00fc\u0142-Zq7"
VECTORS = {
    "one": np.array([0.51237, 0.10571, 0.03093, 0.28217, 0.02111, 0.04771]),
    "two": np.array([0.07919, 0.63111, 0.05331, 0.11117, 0.04973, 0.07549]),
}


@cache
def searcher() -> Searcher:
    traces = [*traces_of_text("name", "one", TEXT), *traces_of_vectors(VECTORS, SCALE)]
    return Searcher(traces, VECTORS)


def whats(searched: Searched) -> set[tuple[str, str]]:
    """(what, who) of each find."""
    return {(find.trace.what, find.trace.who) for find in searched.finds}


@given(st.data(), st.integers(0, 40), st.lists(st.integers(1, 60), max_size=8), st.randoms(use_true_random=False))
def test_every_trace_is_found_wherever_it_is_cut(data, offset: int, cuts: list[int], rng) -> None:
    """Any one trace, at any offset among random bytes, handed over in pieces of any size, is found at its place."""
    trace = data.draw(st.sampled_from(searcher().traces))
    whole = rng.randbytes(offset) + trace.data + rng.randbytes(30)
    pieces, rest = [], whole
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    searched = searcher().search([*pieces, rest], "here")
    assert searched.bytes == len(whole)
    assert (trace.data, offset) in {(find.trace.data, find.offset) for find in searched.finds}


ENCODINGS = {
    "as it is": str.encode,
    "in capitals": lambda text: text.upper().encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "hex": lambda text: text.encode().hex().encode(),
    "url": lambda text: urllib.parse.quote_plus(text).encode(),
    "json": lambda text: json.dumps({"x": text}).encode(),
    "repr": lambda text: repr(text.encode()).encode(),
    "reversed": lambda text: text.encode()[::-1],
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_a_text_is_found_in_what_the_world_makes_of_it(encode) -> None:
    """Encodings by the libraries that would make them, not by the code under test."""
    assert ("name", "one") in whats(searcher().search([b"before " + encode(TEXT) + b" after"], "here"))


@given(st.binary(max_size=7), st.binary(max_size=7), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_base64_is_found_whatever_stands_around_the_text(before: bytes, after: bytes, encode) -> None:
    """Of a longer text that was encoded as a whole, at all three alignments."""
    encoded = encode(before + TEXT.encode() + after)
    assert ("name", "one") in whats(searcher().search([encoded], "here"))


@given(
    st.sampled_from(sorted(VECTORS)),
    st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<i4", ">i4", "<i8", ">i8"]),
    st.integers(0, 20),
    st.booleans(),
)
def test_vectors_are_found_as_rows_and_as_columns(who: str, dtype: str, offset: int, by_columns: bool) -> None:
    """A row, and a batch stored by columns, in each number format, at any offset."""
    batch = np.stack([VECTORS["one"], VECTORS["two"]])
    numbers = batch if dtype[1] == "f" else to_fixed_point(batch)
    row = sorted(VECTORS).index(who)
    data = (numbers.T if by_columns else numbers[row]).astype(dtype).tobytes()
    found = whats(searcher().search([bytes(offset) + data + bytes(3)], "here"))
    assert any(what == "probabilities" and who in name for what, name in found)


@given(st.sampled_from(sorted(VECTORS)), st.integers(3, 17), st.sampled_from(["f", "e"]), st.integers(0, 3))
def test_printed_vectors_are_found(who: str, digits: int, style: str, separator: int) -> None:
    """With 3 to 17 digits, with or without exponents, in lists, lines of a table and JSON."""
    numbers = [f"{value:.{digits}{style}}" for value in VECTORS[who]]
    text = (", ".join(numbers), "\t".join(numbers), str(np.array(numbers)), json.dumps(dict(enumerate(numbers))))[
        separator
    ]
    assert ("probabilities", who) in whats(searcher().search([b"log: [" + text.encode() + b"]"], "here"))


def test_python_and_numpy_print_what_is_found() -> None:
    """As repr shows a list, and an array with its own few digits."""
    vector = VECTORS["two"]
    for text in (repr(vector.tolist()), str(vector), repr(vector), json.dumps(vector.tolist())):
        assert ("probabilities", "two") in whats(searcher().search([text.encode()], "here")), text


def test_other_numbers_and_noise_are_not_found() -> None:
    """Random bytes, zeros, counters, and vectors that differ in the third digit."""
    noise = np.random.default_rng(5).bytes(20_000_000)
    assert searcher().search([noise, bytes(100_000), np.arange(100_000).tobytes()], "here").finds == []
    other = 0.97 * VECTORS["one"] + 0.03 / 6
    assert searcher().search([str(other.tolist()).encode(), other.tobytes()], "here").finds == []


def test_fixed_point_is_rounded_as_attach_rounds_it() -> None:
    """What is looked for is what `attach` would have written."""
    vectors = np.random.default_rng(2).dirichlet(np.ones(6), 200)
    ours = np.array([to_integers(vector, SCALE) for vector in vectors])
    assert np.array_equal(ours, to_fixed_point(vectors).astype(np.int64))


def test_two_small_integers_say_nothing() -> None:
    """Two numbers of 13 bits beside each other are in any process's memory; a whole row of them is nowhere else."""
    vectors = {"one": np.array([9_621, 10_068, 9_700, 9_800, 9_900, SCALE - 49_089]) / SCALE}
    vectors["two"] = vectors["one"][::-1]
    eyes = Searcher(traces_of_vectors(vectors, SCALE))
    row = to_integers(vectors["one"], SCALE)
    for width in (np.int32, np.int64):
        assert eyes.search([row[:2].astype(width).tobytes(), bytes(64)], "here").finds == []
        assert whats(eyes.search([row.astype(width).tobytes()], "here")) == {("probabilities", "one")}


def test_shares_of_a_row_are_found() -> None:
    """Ring elements of either sign, as they would lie in memory."""
    row = [int(value) for value in np.random.default_rng(3).integers(-(2**62), 2**62, 6)]
    eyes = Searcher(traces_of_integers("shares", "row", row))
    for dtype in ("<i8", ">i8"):
        assert whats(eyes.search([b"x" + np.array(row).astype(dtype).tobytes()], "here")) == {("shares", "row")}


def test_every_trace_of_a_run_says_enough() -> None:
    """A run's traces are thousands, none so short that chance would find it, and each canary has some."""
    canaries = Canaries.draw(RaceModel.load())
    traces = canaries.traces()
    assert len(traces) > 5_000
    assert min(len(trace.data) for trace in traces) >= SHORTEST
    assert {member.member_id for member in canaries.members} <= {trace.who for trace in traces}
    assert {"id", "name", "place", "feature", "probabilities", "moments of one row", "Self-ID residual"} == {
        trace.what for trace in traces
    }
    assert len(canaries.vectors) == 12
    assert Searcher(traces).search([b"a log line of someone else, 2026-11-26 0.123"], "here").finds == []


def test_a_trace_is_told_with_its_place() -> None:
    """Where, at which byte, and how it was written."""
    trace = Trace("id", "c", "utf-8", b"canary-1")
    (find,) = Searcher([trace]).search([b"abc", b"defcana", b"ry-1"], "a.log").finds
    assert (find.trace, find.place, find.offset) == (trace, "a.log", 6)
