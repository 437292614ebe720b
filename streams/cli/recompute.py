"""``evenstream recompute``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from estimator import Disparities, Recomputation, reestimate
from estimator.reestimate import layout_of
from privacy import Measurement, PrivacyError
from secure_agg import SecureAggregationError
from streams.cli import Invocation
from streams.cli.audit import CONFIDENCE, FILE, console
from streams.control import ControlPlane
from streams.errors import EvenstreamError, InputError
from streams.governance import Governance
from streams.present_windows import PresentWindows
from streams.recomputation import Recomputer, checked_record, records_of_file, statistic_of
from streams.report.numbers import interval, moment, reason
from streams.report.terminal import terminal_line
from streams.settings import Settings
from streams.settled import NOT_APPROVED, NOT_AT_HAND, Specs, Unknown, given, specs_of_files
from streams.subscription import BEGINNING, follow

Record = Mapping[str, Any]


def _end_ms(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None or value.isdecimal():
        return None if value is None else int(value)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"expected a window's end as 2026-11-26T08:00:00Z or epoch milliseconds, got {value!r}"
        ) from None
    return round(1000 * (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


@dataclass(frozen=True)
class _Wanted:
    """Which windows were asked for."""

    measurement: str | None
    level: str | None
    end_ms: int | None

    def has(self, record: Record) -> bool:
        """Whether a record is of one of them."""
        return (
            self.measurement in (None, record["measurement"])
            and self.level in (None, record["level"])
            and self.end_ms in (None, record["window"]["end_ms"])
        )


@click.command()
@click.option("--measurement", metavar="ID", help="Only of this one.")
@click.option("--level", metavar="NAME", help="Only of this one, such as 10s.")
@click.option("--window", "end_ms", metavar="END", callback=_end_ms, help="Only the one that ends then.")
@click.option("--file", "path", type=FILE, help="Read what `evenstream tail --json` has written, instead of the topic.")
@click.option("--spec", "spec_paths", type=FILE, multiple=True,
              help="Hold records against this approved spec: its record on `measurements`, or its signed text. Repeat "
              "for more. Default: those on the topic, if they can be read; none with --file.")  # fmt: skip
@click.option("--tolerance-ulp", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Let numbers differ by N units of 2^-52: for records of another build of numpy.")  # fmt: skip
@click.option("--reference", metavar="GROUP", help="Print instead what the tables say against this group.")
@click.option("--confidence", type=CONFIDENCE, help="Print instead what they say with intervals of this confidence.")
@click.option("--statistic", "statistics", multiple=True, metavar="TEXT",
              help="Print instead another statistic, such as 'top: decision=1 | score=3,4'.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a window.")
@click.pass_obj
def recompute(
    invocation: Invocation,
    measurement: str | None,
    level: str | None,
    end_ms: int | None,
    path: Path | None,
    spec_paths: tuple[Path, ...],
    tolerance_ulp: int,
    reference: str | None,
    confidence: float | None,
    statistics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Work published windows out again from their own noised tables; 1 if any number is another than was published.

    What a spec settles is held against it. What could not be checked is named, window by window; that alone is no 1.

    With --reference, --confidence or --statistic: what nobody has published, from the same tables. It spends no budget,
    since everything that follows from a noised table was paid for with it.
    """
    specs = given(specs_of_files(spec_paths)) if spec_paths else None
    records = _of_topic(invocation.settings()) if path is None else records_of_file(path)
    wanted = _Wanted(measurement, level, end_ms)
    if reference is None and confidence is None and not statistics:
        if specs is None:
            specs = _approved(invocation.settings()) if path is None else lambda record: NOT_AT_HAND
        _compare(records, wanted, Recomputer(tolerance_ulp, specs), as_json)
    elif spec_paths:
        raise InputError("--spec is for comparing; --reference, --confidence and --statistic ask what nobody published")
    else:
        _ask(records, wanted, _Question(reference, confidence, statistics), as_json)


def _of_topic(settings: Settings) -> Iterator[Record]:
    """What the topic holds now."""
    say = lambda text: click.echo(text, err=True)  # noqa: E731
    for delivery in follow(settings, BEGINNING, to_end=True, say=say):
        if delivery is not None:
            yield checked_record(delivery.as_json().get("value"), delivery.place)


def _approved(settings: Settings) -> Specs:
    """The approved specs, where this reader may read them and has the public keys to judge them by."""

    @cache  # read when the first record is there
    def control() -> ControlPlane | None:
        try:
            return Governance(settings).view().control
        except (EvenstreamError, SecureAggregationError, PrivacyError) as error:
            click.echo(f"records are not held against their specs, which cannot be read here: {error}", err=True)
            return None

    def spec(record: Record) -> Measurement | Unknown:
        known = control()
        if known is None:
            return NOT_AT_HAND
        try:
            approved = known.find(bytes.fromhex(record["spec_sha256"]))
        except ValueError:  # no hex
            return NOT_APPROVED
        return NOT_APPROVED if approved is None else approved.measurement

    return spec


def _name(record: Record) -> str:
    return terminal_line(f"{record['measurement']} {record['level']} {moment(record['window']['end_ms'])}")


# -- what was published -------------------------------------------------------------------------------------------


def _compare(records: Iterator[Record], wanted: _Wanted, recomputer: Recomputer, as_json: bool) -> None:
    windows = compared = silent = unequal = 0
    first: str | None = None
    unchecked: Counter[str] = Counter()
    partly = 0
    said: set[str] = set()
    there = PresentWindows()
    for record in records:
        there.note(record["measurement"], record["level"])
        found = recomputer.take(record)
        if not wanted.has(record):
            continue
        click.echo(_verdict_json(record, found) if as_json else f"{_name(record)}  {_verdict(record, found)}")
        windows, compared, silent = windows + 1, compared + found.compared, silent + (record["table"] is None)
        partly += bool(found.unchecked)
        unchecked.update({text.partition(":")[0] for text in found.unchecked})
        if record["privacy"] is not None:
            said.add(f"confidence {record['confidence']:g} and rho_limit {record['privacy']['rho_limit']:g}")
        if not found.equal:
            unequal += 1
            first = first or f"{_name(record)}: {terminal_line(str(found.discrepancies[0]))}"
    if not windows:
        raise InputError(there.instead())
    if said:
        click.echo(f"settings of publish, as the records have them: {'; '.join(sorted(said))}", err=True)
    for kind, count in unchecked.items():
        click.echo(terminal_line(f"not checked in {count:,} windows: {kind}"), err=True)
    if first is not None:
        raise EvenstreamError(
            f"{unequal:,} of {windows:,} windows are not what their tables or specs say; the first: {first}"
        )
    summary = f"{windows:,} windows, {silent:,} of them without numbers; {compared:,} values recomputed, all equal"
    if partly:
        summary += f"; in {partly:,} windows not everything could be checked"
    click.echo(summary, err=as_json)


def _verdict(record: Record, found: Recomputation) -> str:
    status = record["status"] if record["table"] is not None else f"{record['status']} ({record['reason']})"
    said = "no number to recompute" if record["table"] is None else f"equal: {found.compared:,} values"
    if not found.equal:
        more = f", and {len(found.discrepancies) - 1:,} more" if len(found.discrepancies) > 1 else ""
        said = f"DIFFERS: {found.discrepancies[0]}{more}"
    return terminal_line(f"{status}, {said}{''.join(f'; not checked: {text}' for text in found.unchecked)}")


def _window_json(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in ("measurement", "revision", "level", "window", "status")}


def _verdict_json(record: Record, found: Recomputation) -> str:
    return json.dumps(
        _window_json(record)
        | {
            "equal": found.equal,
            "compared": found.compared,
            "discrepancies": [asdict(discrepancy) for discrepancy in found.discrepancies],
            "unchecked": found.unchecked,
        }
    )


# -- what was not -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Question:
    reference: str | None
    confidence: float | None
    statistics: tuple[str, ...]

    def answer(self, record: Record, corrected_by: Record | None) -> Disparities:
        """What a record's table says to it."""
        own = [statistic_of(text, layout_of(record)) for text in self.statistics]
        return reestimate(
            record, corrected_by, reference=self.reference, confidence=self.confidence, statistics=own or None
        )


def _ask(records: Iterator[Record], wanted: _Wanted, question: _Question, as_json: bool) -> None:
    recomputer = Recomputer()
    answered = 0
    there = PresentWindows()
    for record in records:
        there.note(record["measurement"], record["level"])
        recomputer.keep(record)
        if not wanted.has(record) or record["table"] is None:
            continue
        try:
            found = question.answer(record, recomputer.correction_of(record))
        except ValueError as error:  # no such group; records of several measurements need not have the same
            raise InputError(f"{_name(record)}: {error}") from None
        answered += 1
        reference = question.reference or record["reference"]
        confidence = question.confidence or record["confidence"]
        if as_json:
            asked = {"reference": reference, "confidence": confidence, "results": [asdict(r) for r in found.results]}
            click.echo(json.dumps(_window_json(record) | asked))
        else:
            _print(f"{_name(record)}, against {reference}, {100 * confidence:g} % intervals", found)
    if not answered:
        raise InputError(f"with a table {there.instead()}")


def _print(title: str, found: Disparities) -> None:
    out = console()
    out.print(title, style="bold", markup=False, highlight=False)
    for (metric, score_bin), results in groupby(found.results, key=lambda result: (result.metric, result.score_bin)):
        name = metric if score_bin == "all" else f"{metric}, bin {score_bin}"
        table = Table("group", "estimator", "value", "gap", "", title=name, title_justify="left")
        for result in results:
            cells = interval(result.value), interval(result.gap, signed=True), reason(result.suppressed)
            table.add_row(*(Text(terminal_line(cell)) for cell in (result.group, result.estimator, *cells)))
        out.print(table)
