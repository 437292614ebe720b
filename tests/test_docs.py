"""The documents say what the code does: links lead somewhere, commands and tests exist, tables list what is there."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import msgspec
import pytest
from pydantic import BaseModel

from privacy import Debit, parse_measurement
from privacy.decisions import Answer, Approve, Close, Decision, Forecast, Propose, Reject, Revoke
from privacy.dispositions import Disposition
from privacy.spec_problems import EXPECTED
from streams import acl
from streams.cli import main
from streams.records import metric
from streams.records.batches import Extension
from streams.records.concern import Concern
from streams.records.destroyed import KeyDestroyed
from streams.records.detection import Detection, DetectorState
from streams.records.frame import Kind
from streams.records.header import Header
from streams.records.keys import EpochKey, WrappedKey
from streams.records.layout import LayoutRecord
from streams.records.punctuation import Counting, Passage, Punctuation, SourceProgress
from streams.records.refused import Refused
from streams.records.release import Release, ReleasedChannel
from streams.records.skip import GivenUp, Skip, VoidWindows
from streams.roles.attach import AttachedPartition
from streams.roles.counted_chunks import DayIndex, _Chunk
from streams.roles.decoding import REASONS, EventDecoder
from streams.roles.log_partition import PartitionState, StreamState
from streams.roles.releasing import _PendingState
from streams.roles.source_partition import SourceState
from streams.roles.windows import _RollupState, _ScheduleState, _WindowState

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GOLDEN = ROOT / "tests" / "streams" / "watch" / "golden"

_FENCE = re.compile(r"^(```+|~~~+)([^\n]*)\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
_TEST = re.compile(r"\b(tests/[\w/]+\.py)::(\w+)")


def _pages() -> Iterator[Path]:
    """Every Markdown file of the repository; hidden folders hold what tools have made."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in ("build", "dist"))
        yield from (Path(folder) / name for name in sorted(files) if name.endswith(".md"))


PAGES = tuple(_pages())
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _without_code(text: str) -> str:
    return _SPAN.sub("", _FENCE.sub("", text))


# -- links ------------------------------------------------------------------------------------------------------------


@cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: dict[str, int] = {}
    anchors = set(re.findall(r"<a\s+(?:id|name)=\"([^\"]+)\"", page.read_text()))
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        anchors.add(f"{slug}-{number}" if number else slug)
    return frozenset(anchors)


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links of ``text``, as it stands in ``page``, that lead nowhere."""
    prose = _without_code(text)
    broken = []
    for link in (*_LINK.findall(prose), *_REFERENCE.findall(prose)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file or folder that is there, and a heading of it where it names one."""
    assert broken_links(page, page.read_text()) == []


def test_the_link_check_sees() -> None:
    """A missing file, a missing heading and a missing own heading are found; code, addresses and good links are not."""
    text = "[a](none.md) [b](protocol.md#none) [c](#nowhere) `[d](no.md)` [e](https://e.example) [f](protocol.md#keys)"
    assert broken_links(DOCS / "architecture.md", text) == ["none.md", "protocol.md#none", "#nowhere"]


# -- commands ---------------------------------------------------------------------------------------------------------


def quoted_commands(text: str) -> Iterator[list[str]]:
    """The words after ``evenstream`` of each command line in code blocks and code spans."""
    for _, _, body in _FENCE.findall(text):
        for line in body.replace("\\\n", " ").splitlines():
            yield from _commands(line)
    for _, span in _SPAN.findall(_FENCE.sub("", text)):
        yield from _commands(" ".join(span.split()))


def _commands(line: str) -> Iterator[list[str]]:
    for part in re.split(r"\s*(?:&&?|\|\|?|;|>|\$\()\s*", line.removeprefix("$ ")):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:  # prose with an apostrophe, in a code block
            continue
        while words and re.fullmatch(r"[A-Z_][A-Z0-9_]*=.*", words[0]):
            words = words[1:]
        if "--" in words:  # kubectl exec POD -- evenstream ...
            words = words[words.index("--") + 1 :]
        if len(words) > 1 and Path(words[0]).name == "evenstream":
            yield words[1:]


def command_problem(words: list[str]) -> str | None:
    """What is wrong with a command line, or None."""
    command: click.Command = main
    context = click.Context(main, info_name="evenstream", **main.context_settings)
    arguments, waiting = 0, list(words)
    while waiting:
        word = waiting.pop(0).rstrip(",.")
        if word in ("...", "\N{HORIZONTAL ELLIPSIS}") or word.startswith("["):  # a placeholder: nothing more is said
            return None
        if word.startswith("-"):
            name, has_value, _ = word.partition("=")
            options = {o: p for p in command.get_params(context) for o in (*p.opts, *p.secondary_opts)}
            option = options.get(name)
            if not isinstance(option, click.Option):
                return f"{command.name} has no option {name}"
            if not (option.is_flag or option.count or has_value) and waiting:
                waiting.pop(0)
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return None if word.isupper() else f"{command.name} has no command {word}"
            command, context = found, click.Context(found, info_name=word, parent=context)
        else:
            arguments += 1
    if arguments > sum(isinstance(parameter, click.Argument) for parameter in command.params):
        return f"{command.name} takes fewer arguments"
    return None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page: Path) -> None:
    """Every quoted `evenstream` command line is one that can be typed: its commands and its options exist."""
    problems = {" ".join(words): command_problem(words) for words in quoted_commands(page.read_text())}
    assert {line: problem for line, problem in problems.items() if problem} == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("--config e.yaml topics create --check", None),
        ("measurement propose SPEC --key=K --days 90", None),
        ("topics make", "topics has no command make"),
        ("topics create --chekc", "create has no option --chekc"),
        ("measurement check a b", "check takes fewer arguments"),
        ("COMMAND --help", None),
        ("seal --party a", "seal has no option --party"),
    ],
)
def test_the_command_check_sees(line: str, problem: str | None) -> None:
    """A command, an option or an argument that does not exist is found; placeholders and real ones are not."""
    text = f"```\n$ KAFKA_BOOTSTRAP=h:1 .venv/bin/evenstream {line}   # why\n```\nand `evenstream {line}`"
    assert [command_problem(words) for words in quoted_commands(text)] == [problem, problem]


# -- tests that are named ---------------------------------------------------------------------------------------------


@cache
def _functions(path: str) -> frozenset[str]:
    file = ROOT / path
    if not file.exists():
        return frozenset()
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_tests_exist(page: Path) -> None:
    """Every test that a document names as evidence is there."""
    assert [f"{p}::{name}" for p, name in _TEST.findall(page.read_text()) if name not in _functions(p)] == []


def test_privacy_and_threats_name_their_evidence() -> None:
    """The two documents that promise something name tests, so that the check above has something to hold."""
    for name in ("privacy.md", "threat-model.md"):
        assert len(_TEST.findall((DOCS / name).read_text())) > 10


# -- tables of fields -------------------------------------------------------------------------------------------------


def _table_under(text: str, name: str) -> list[str]:
    """First column of the first table under the heading that ends in a name."""
    found = re.search(rf"^#+ (?:.*: )?`{re.escape(name)}`\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading that ends in `{name}`"
    table = re.search(r"(?:^\|.*\n?)+", found[1], re.MULTILINE)
    assert table is not None, f"there is no table under `{name}`"
    return re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)


def _fields(kind: type) -> list[str]:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    assert dataclasses.is_dataclass(kind)
    return [field.name for field in dataclasses.fields(kind)]


RECORDS = (
    Header,
    Extension,
    Punctuation,
    SourceProgress,
    Counting,
    Passage,
    Release,
    ReleasedChannel,
    EpochKey,
    WrappedKey,
    LayoutRecord,
    KeyDestroyed,
    Refused,
    Concern,
    Debit,
    Skip,
    GivenUp,
    VoidWindows,
    Propose,
    Forecast,
    Approve,
    Reject,
    Revoke,
    Answer,
    Close,
    Disposition,
    metric.FairnessMetric,
    metric.Window,
    metric.Result,
    Detection,
    DetectorState,
    metric.Interval,
    metric.Table,
    metric.NoisedMoments,
    metric.CorrectedBy,
    metric.Difference,
    metric.Privacy,
    metric.Checks,
    SourceState,
    PartitionState,
    StreamState,
    AttachedPartition,
    DayIndex,
    _Chunk,
    _WindowState,
    _RollupState,
    _ScheduleState,
    _PendingState,
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_protocol_lists_every_field(record: type) -> None:
    """The table of a record has exactly its fields, in the order in which they are on the wire."""
    assert _table_under((DOCS / "protocol.md").read_text(), record.__name__) == _fields(record)


def test_protocol_lists_a_decisions_fields() -> None:
    """With its kind, which the code knows by the contents, in the order in which they are on the wire."""
    assert _table_under((DOCS / "protocol.md").read_text(), "Decision") == sorted([*_fields(Decision), "kind"])


def test_protocol_lists_every_kind() -> None:
    """The table of kinds has each number with its name."""
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (DOCS / "protocol.md").read_text(), re.MULTILINE)
    assert rows == [(str(kind.value), kind.name) for kind in Kind]


def test_protocol_names_every_refusal() -> None:
    """Each reason for which an event is not counted is explained, and none that does not exist."""
    text = (DOCS / "protocol.md").read_text()
    section = text.partition("\n## Refused\n")[2].partition("\n## ")[0]
    table = section.partition("\n| reason | when |")[2]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(REASONS)


# -- metrics ----------------------------------------------------------------------------------------------------------


def _golden_families() -> set[str]:
    names = set()
    for path in GOLDEN.glob("*.txt"):
        for kind, name in re.findall(r"^(\w+) (evenstream_\w+) ", path.read_text(), re.MULTILINE):
            names.add(re.sub(r"_(bucket|count|sum)$", "", name) if kind == "histogram" else name)
    return names


def test_metrics_names_every_family() -> None:
    """Every family that the golden files hold has its row."""
    assert _golden_families() - set(re.findall(r"`(evenstream_\w+)`", (DOCS / "metrics.md").read_text())) == set()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_names_a_metric_that_is_not_there(page: Path) -> None:
    """A name that nothing exposes would make a query that never answers."""
    named = set(re.findall(r"\bevenstream_[a-z_]+[a-z]\b(?![*/.])", page.read_text()))
    families = _golden_families()
    series = {f"{family}_{part}" for family in families for part in ("bucket", "count", "sum")}
    assert named - families - series == set()


# -- principals -------------------------------------------------------------------------------------------------------


def test_operations_holds_the_table_of_principals() -> None:
    """Who may do what is on the page as the code has it, line by line."""
    section = (DOCS / "operations.md").read_text().partition("\n## Principals and ACLs\n")[2].partition("\n## ")[0]
    assert acl.markdown_table() in section


# -- measurements -----------------------------------------------------------------------------------------------------


def test_measurements_lists_every_field() -> None:
    """The table has every field of a spec, nested ones by their path, and none that does not exist."""
    table = (DOCS / "measurements.md").read_text().partition("\n## Fields\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(EXPECTED)


def test_the_example_gives_what_the_page_says() -> None:
    """The spec and the event of the page give the members and cells of the page's table."""
    text = (DOCS / "measurements.md").read_text()
    blocks = [(kind.strip(), body) for _, kind, body in _FENCE.findall(text)]
    specs = [parse_measurement(body, origin="measurements.md") for kind, body in blocks if kind == "yaml"]
    (event,) = [json.loads(body) for kind, body in blocks if kind == "json"]
    decoded = EventDecoder(specs[0]).decode([json.dumps(event).encode()])
    rows = re.findall(r"^\| (c\d) \| \d \| \d \| (\d) \|", text, re.MULTILINE)
    assert rows
    assert decoded.refused == []
    assert list(zip(decoded.rows.members.tolist(), decoded.rows.cells.tolist(), strict=True)) == [
        (member.encode(), int(cell)) for member, cell in rows
    ]


@pytest.mark.parametrize("page", ["estimators.md", "measurements.md"])
def test_python_on_a_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Code that a reader would copy runs as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    for code in blocks:
        exec(compile(code, page, "exec"), {})
