"""Sizes as people read them: amounts of any size, tables, advice and JSON."""

from __future__ import annotations

import io
import json
import re
from html import escape

import pytest
import yaml
from audit_examples import ROOT
from click.testing import CliRunner
from rich.console import Console

from privacy import Measurement, parse_measurement
from streams.cli import main
from streams.report import amounts
from streams.report import sizing as report
from streams.report.advice import CHART_LIMIT_BYTES, advice_of
from streams.settings import Settings, load_settings
from streams.sizing import Size, load_of, size_of


@pytest.fixture(scope="module")
def spec() -> Measurement:
    """Windows of 10 s and 1 min, twenty cells."""
    path = ROOT / "examples" / "simulated-feed" / "measurement.yaml"
    return parse_measurement(path.read_text(), origin="feed")


def sized(spec: Measurement, rate: float, members: float, **fixed: int) -> Size:
    """A size at the default settings."""
    return size_of(load_of([spec], rate, 1.0, int(members), Settings()), **fixed)


def text(size: Size) -> str:
    """What is printed."""
    out = io.StringIO()
    report.as_text(size, Console(file=out, width=120))
    return out.getvalue()


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.5, "0.5"), (1, "1"), (9.1, "9.1"), (10, "10"), (20_000, "20,000"), (999_999, "1 million"),
     (1.25e6, "1.25 million"), (1e9, "1 billion"), (999.6e6, "1 billion"), (1e11, "100 billion"),
     (2.5e12, "2.5 trillion"), (3e15, "3 quadrillion")],
)  # fmt: skip
def test_counts(number: float, shown: str) -> None:
    """In words from a million on, with three digits."""
    assert amounts.count(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (548, "548 B"), (999.6, "1 kB"), (1_040_000, "1.04 MB"), (99.96e6, "100 MB"), (276.5e9, "276 GB"),
     (1.25e15, "1.25 PB"), (999.7e9, "1 TB"), (4e22, "40 ZB")],
)  # fmt: skip
def test_sizes(number: float, shown: str) -> None:
    """In powers of a thousand, with three digits, and never a thousand of one unit."""
    assert amounts.size(number) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0001, "0.01"), (0.456, "0.46"), (0.996, "1.0"), (5.72, "5.7"), (9.96, "10"), (1234, "1,234")],
)
def test_cores(share: float, shown: str) -> None:
    """Nothing runs on no core at all."""
    assert amounts.cores(share) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "under 1 s"), (25, "25 s"), (252, "4.2 min"), (7200, "2 h"), (604_800, "7 d"), (31_536_000, "365 d")],
)
def test_durations(seconds: float, shown: str) -> None:
    """In the largest unit that it fills."""
    assert amounts.duration(seconds) == shown


@pytest.mark.parametrize(("rate", "members"), [(0.01, 1), (10, 1e4), (2e4, 5e6), (1e6, 1e9), (1e9, 1e11)])
def test_every_size_can_be_read(spec: Measurement, rate: float, members: float) -> None:
    """No row of digits without end, no infinity and no NaN, at any scale; each role and topic is in it."""
    shown = text(sized(spec, rate, members))
    assert not any(word in shown for word in ("nan", " inf", "e+"))
    assert max(len(word.replace(",", "")) for word in shown.split() if word.replace(",", "").isdigit()) <= 6
    for name in (
        "seal",
        "attach",
        "publish",
        "member-attributes",
        "sealed",
        "shares",
        "state-attach",
        "fairness-metrics",
    ):
        assert name in shown
    json.loads(json.dumps(report.as_json(sized(spec, rate, members)), allow_nan=False))


def test_a_laptop_is_told_so_little(spec: Measurement) -> None:
    """Ten events a second: a tenth of a core, no command to scale anything, and what the default leaves to spare."""
    size = sized(spec, 10, 1e4)
    shown = text(size)
    assert size.cores < 0.15
    assert "4 partitions (1 would do)" in shown
    assert "evenstream scale" not in shown
    assert "NOT ENOUGH" not in shown
    assert "the parties, one worker each, are the limit from about" in shown


def test_a_billion_members_are_told_what_to_do(spec: Measurement) -> None:
    """Partitions before topics are made, and the commands that bring the workers about."""
    size = sized(spec, 1e6, 1e9)
    advice = advice_of(size)
    assert f"topics.partitions must be {size.layout.partitions}, before topics are made" in advice[0]
    assert any(line.endswith(f"evenstream scale attach {size.layout.attach}") for line in advice)
    assert any(line.endswith(f"evenstream scale seal {size.layout.seal}") for line in advice)
    assert size.fits


def test_what_does_not_fit_is_said_first(spec: Measurement) -> None:
    """Too much for the parties, seal's source topic and attach's partitions; JSON says that it does not fit."""
    size = sized(spec, 5e7, 1e10, partitions=2, sources=2)
    advice = advice_of(size)
    assert advice[0].startswith("NOT ENOUGH: seal has")
    assert advice[1].startswith("NOT ENOUGH: attach has")
    assert "to load its members at each start" in advice[2]
    assert any(line.startswith("NOT ENOUGH: each party is one worker") for line in advice)
    assert report.as_json(size)["fits"] is False


def test_more_memory_than_the_chart_gives_is_told(spec: Measurement) -> None:
    """Of attach with many members; and the limits that it is held against are the chart's."""
    values = yaml.safe_load((ROOT / "helm" / "evenstream" / "values.yaml").read_text())["roles"]
    for role, limit in CHART_LIMIT_BYTES.items():
        number, unit = (
            values[role]["resources"]["limits"]["memory"][:-2],
            values[role]["resources"]["limits"]["memory"][-2:],
        )
        assert int(number) * {"Mi": 2**20, "Gi": 2**30}[unit] == limit
    assert any(line.startswith("attach needs a limit of") for line in advice_of(sized(spec, 10, 5e7)))
    assert not any("needs a limit" in line for line in advice_of(sized(spec, 10, 1e6)))


def test_thin_batches_are_told_of_where_they_cost(spec: Measurement) -> None:
    """With many partitions a longer interval is advised, and with that interval no more; cheap ones need no word."""
    thin = sized(spec, 20_000, 1e6, partitions=32, sources=64)
    assert any("seal.commit_interval_seconds 10 fills them" in line for line in advice_of(thin))
    settings = load_settings(None, ("seal.commit_interval_seconds=10",))
    longer = size_of(load_of([spec], 2_000_000.0, 1.0, 1_000_000, settings), partitions=32, sources=64)
    assert not any("seal.commit_interval_seconds" in line for line in advice_of(longer))
    assert not any("a batch holds" in line for line in advice_of(sized(spec, 10, 1e4)))


def test_the_page_says_what_the_text_says(spec: Measurement) -> None:
    """Title, summary, both tables and each advice."""
    size = sized(spec, 1e6, 1e9)
    parts = "".join(report.as_page(size))
    for line in (report.title(size), report.summary(size), *advice_of(size)):
        assert escape(line) in parts
    assert parts.count("<table>") == 2


def test_the_documented_output_is_what_is_printed() -> None:
    """docs/planning.md, What it takes: the command that stands there prints what stands below it."""
    section = (ROOT / "docs" / "planning.md").read_text().partition("## What it takes")[2]
    command, shown = re.search(r"\$ evenstream (plan [^\n]*)\n\.\.\.\n(.*?)```", section, re.DOTALL).groups()  # type: ignore[union-attr]
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in command.split()]
    printed = CliRunner().invoke(main, words).stdout
    printed = printed[printed.index("What it takes") :]
    printed = "\n".join(line.rstrip() for line in printed.splitlines()) + "\n"
    assert shown == printed, f"put this into docs/planning.md:\n{printed}"
