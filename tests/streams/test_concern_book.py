"""The concerns that a reader keeps, whatever is written to the topic."""

from __future__ import annotations

import tracemalloc

from streams.concern_book import ConcernBook
from streams.records.concern import Concern, encode_concern


def record(number: int, measurement: str = "feed", text: str = "x") -> tuple[bytes, bytes]:
    """Key and value of a concern."""
    concern = Concern(1, f"{number:032x}", measurement, "2025-11-25", text, "page")
    return concern.id.encode(), encode_concern(concern)


def ids(book: ConcernBook) -> list[int]:
    """The numbers of the concerns that are kept."""
    return [int(concern.id, 16) for concern in book.all()]


def test_open_is_what_is_there_less_what_is_closed() -> None:
    """Every known measurement has a number; a closing without its concern changes nothing."""
    book = ConcernBook(["feed", "jobs"])
    for number in range(3):
        book.apply(*record(number))
    assert book.open(()) == {"feed": 3, "jobs": 0}
    assert book.open({f"{1:032x}", "f" * 32}) == {"feed": 2, "jobs": 0}


def test_the_first_of_an_id_stands() -> None:
    """A replay with another text, or under another measurement, changes nothing and is counted."""
    book = ConcernBook(["feed", "jobs"])
    book.apply(*record(1, text="mine"))
    book.apply(*record(1, text="theirs"))
    book.apply(*record(1, "jobs"))
    assert [concern.text for concern in book.all()] == ["mine"]
    assert book.left_out == {"repeated": 2}


def test_the_newest_are_kept_and_the_others_counted() -> None:
    """A flood about one measurement pushes out its own oldest, and nothing of another measurement."""
    book = ConcernBook(["feed", "jobs"], kept=10)
    book.apply(*record(1000, "jobs"))
    for number in range(25):
        book.apply(*record(number))
    assert ids(book) == [*range(15, 25), 1000]
    assert book.left_out == {"older": 15}


def test_an_unknown_measurement_may_become_known() -> None:
    """Concerns wait for the record that approves their measurement; of those that wait, the newest are kept."""
    book = ConcernBook(["feed"], kept=10)
    book.apply(*record(1, "new"))
    assert (ids(book), book.waiting) == ([], 1)
    book.know(["feed", "new"])
    assert (ids(book), book.waiting) == ([1], 0)
    for number in range(2, 102):
        book.apply(*record(number, f"none-{number}"))
    assert book.waiting == 10
    assert book.left_out == {"unknown_measurement": 90}
    book.apply(b"key", b"\xff")
    assert book.left_out["malformed"] == 1


def test_memory_is_bounded_under_a_flood() -> None:
    """4,000 records of the longest text leave 50 behind, and without text next to nothing."""
    book = ConcernBook(["feed"], kept=50, with_text=False)
    tracemalloc.start()
    for number in range(4_000):
        book.apply(*record(number, "feed" if number % 2 else f"none-{number}", "x" * 2000))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ids(book)) == 50
    assert size < 200_000
    assert book.left_out == {"older": 1_950, "unknown_measurement": 1_950}
