"""Log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from streams.log import configure_logging
from streams.settings import LoggingSettings


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_lines_name_the_role(capsys: pytest.CaptureFixture[str]) -> None:
    """A line holds the time in UTC, the level, the role and the message."""
    configure_logging("seal", LoggingSettings())
    logging.getLogger("x").warning("at %d", 3)
    logging.getLogger("x").debug("not shown")
    line = capsys.readouterr().err
    assert line.endswith("Z WARNING seal: at 3\n")
    assert line.count("\n") == 1


def test_json_lines_parse(capsys: pytest.CaptureFixture[str]) -> None:
    """In json, a record with an exception is still one line."""
    configure_logging("a", LoggingSettings(format="json", level="DEBUG"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert (record["role"], record["level"], record["message"]) == ("a", "ERROR", "failed")
    assert "builtins.ValueError" in record["exception"]
    assert "\n" in record["exception"]
