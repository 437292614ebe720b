"""Charts are drawn by another process, which may die, hang or be absent: the page goes on."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from shown_windows import history, hour

from streams.watch import charts as module
from streams.watch.chart_request import Wanted
from streams.watch.charts import Charts, ChartUnavailable
from streams.watch.window_history import digest

WINDOWS = history(hour()).shown().of("feed", "10s")
GAPS = Wanted("gaps", "light", "recommendation_rate", "all", "weighted")


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charts]:
    made = Charts(tmp_path_factory.mktemp("charts"), niceness=0)
    yield made
    made.close()


def test_a_picture_shows_bands_limits_and_windows_without_numbers(charts: Charts) -> None:
    """One panel a group, by its words; nothing from elsewhere, no script; the same bytes each time."""
    svg = charts.svg(GAPS, WINDOWS).decode()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    for words in ("Black", "Asian or Pacific Islander", "gap, percentage points"):
        assert words in svg
    assert "<script" not in svg
    assert not re.search(r'(?:href|src)="(?!#)', svg)
    assert svg == charts.svg(GAPS, WINDOWS).decode()
    evidence = charts.svg(Wanted("evidence", "dark", "recommendation_rate", "all", "weighted"), WINDOWS).decode()
    assert "alarm" in evidence
    assert "#14171a" in evidence
    assert "#ffffff" in svg


def test_a_picture_is_drawn_once_until_there_is_something_new(charts: Charts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty readers cost one drawing; a new window costs another."""
    drawn: list[int] = []
    draw = charts._drawn
    monkeypatch.setattr(charts, "_drawn", lambda drawing: drawn.append(len(drawing.windows)) or draw(drawing))
    wanted = Wanted("gaps", "light", "tpr", "all", "weighted")
    with ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(lambda _: charts.svg(wanted, WINDOWS[:-1]), range(20)))) == 1
    charts.svg(wanted, WINDOWS)
    assert drawn == [len(WINDOWS) - 1, len(WINDOWS)]


def test_a_picture_is_of_no_window_that_was_withdrawn(charts: Charts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One before the newest changes its status, or its terms: it is drawn anew, under another address."""
    monkeypatch.setattr(charts, "_drawn", lambda drawing: b"<svg" + os.urandom(8))
    withdrawn = (*WINDOWS[:3], replace(WINDOWS[3], status="withdrawn"), *WINDOWS[4:])
    other = (*WINDOWS[:3], replace(WINDOWS[3], spec="00"), *WINDOWS[4:])
    wanted = Wanted("gaps", "light", "fpr", "all", "weighted")
    assert len({charts.svg(wanted, windows) for windows in (WINDOWS, withdrawn, other, WINDOWS)}) == 3
    assert len({digest(windows) for windows in (WINDOWS, withdrawn, other)}) == 3


def test_a_picture_that_is_kept_waits_for_none(charts: Charts, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another is drawn it is had at once; of those that wait there are so many, and no more."""
    kept = charts.svg(GAPS, WINDOWS[:8])
    narrow = Wanted("gaps", "light-narrow", "recommendation_rate", "all", "weighted")
    monkeypatch.setattr(charts, "_waiting", threading.BoundedSemaphore(1))
    with ThreadPoolExecutor(1) as pool:
        with charts._drawing:
            waits = pool.submit(charts.svg, narrow, WINDOWS[:8])
            while charts._waiting._value:
                time.sleep(0.001)
            assert charts.svg(GAPS, WINDOWS[:8]) is kept
            with pytest.raises(ChartUnavailable, match="many pictures"):
                charts.svg(GAPS, WINDOWS[:9])
        drawn = waits.result(timeout=30)
    assert drawn.startswith(b"<svg")
    assert width_of(drawn) < width_of(kept) / 2


def width_of(svg: bytes) -> float:
    """Of a picture, points."""
    return float(ElementTree.fromstring(svg).attrib["width"].removesuffix("pt"))


def test_what_cannot_be_drawn_is_said(charts: Charts) -> None:
    """A picture that fails in the process leaves it up for the next one."""
    wanted = Wanted("gaps", "no-such-theme", "tpr", "all", "weighted")
    with pytest.raises(ChartUnavailable, match="could not be drawn"):
        charts.svg(wanted, WINDOWS)
    before = charts.process_id
    assert charts.svg(GAPS, WINDOWS[:7]).startswith(b"<svg")
    assert charts.process_id == before


def test_a_process_that_died_is_started_anew(charts: Charts) -> None:
    """Between two pictures, and in the middle of one."""
    charts.svg(GAPS, WINDOWS[:2])
    first = charts.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert charts.svg(GAPS, WINDOWS[:3]).startswith(b"<svg")
    second = charts.process_id
    assert second not in (None, first)


def test_one_that_hangs_is_ended_and_one_that_never_stays_is_given_up(
    charts: Charts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that is not there in time is an answer, and so is a process that cannot be kept."""
    assert charts.process_id is not None or charts.svg(GAPS, WINDOWS[:4])
    assert charts.process_id is not None
    os.kill(charts.process_id, signal.SIGSTOP)
    monkeypatch.setattr(module, "_DRAW_SECONDS", 0.05)
    # Windows beyond what a pipe takes: also one that has stopped reading is found out.
    much = tuple(replace(WINDOWS[0], end_ms=number, packed=os.urandom(1000)) for number in range(300))
    with pytest.raises(ChartUnavailable, match="does not stay up"):
        charts.svg(GAPS, much)
    monkeypatch.setattr(module, "_STARTS_A_MINUTE", 0)
    with pytest.raises(ChartUnavailable, match="does not stay up"):
        charts.svg(GAPS, WINDOWS[:6])


def test_it_ends_with_its_parent_and_leaves_nothing(tmp_path: Path) -> None:
    """Close ends it; so does the end of its input, as when publish is killed; its folder goes, and it saw no secret."""
    charts = Charts(tmp_path, niceness=0)
    os.environ["EVENSTREAM_TEST_SECRET"] = "hidden"
    try:
        running = charts._running()
    finally:
        del os.environ["EVENSTREAM_TEST_SECRET"]
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    other = Charts(tmp_path, niceness=0)
    other._running()
    other.close()  # takes away its own alone
    assert list(tmp_path.iterdir()) == [folder]
    time.sleep(0.2)
    assert b"hidden" not in Path(f"/proc/{running.pid}/environ").read_bytes()
    assert running.stdin is not None
    running.stdin.close()
    assert running.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []
    charts.close()
    with pytest.raises(ChartUnavailable, match="is ending"):
        charts.svg(GAPS, WINDOWS)
