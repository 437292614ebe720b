"""How the findings are shown: a table of the workers, then one line a finding; or JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from streams.doctor.findings import Finding, exit_status
from streams.doctor.look import Look, WorkerSeen
from streams.doctor.plight import of_worker
from streams.doctor.standing import Standing, standings
from streams.report.numbers import moment

_SIGNS = {"wrong": "WRONG", "unseen": "UNSEEN", "ok": "ok"}


def rows(before: Look, now: Look) -> list[dict[str, Any]]:
    """One row a worker: whether it answers and is at work, what it has not read, how old its watermark is."""
    return [_row(before, now, seen) for seen in now.workers]


def _row(before: Look, now: Look, seen: WorkerSeen) -> dict[str, Any]:
    own = _own(before, now, seen)
    unread = [standing.unread for standing in own if standing.unread is not None]
    passed = [standing.passed_ms for standing in own if standing.passed_ms]
    live = bool(now.live_sources())
    plight = of_worker(seen)
    return {
        "worker": seen.worker.name,
        "address": seen.worker.address,
        "answers": seen.answers,
        "ready": seen.ready,
        "says": seen.readiness if plight is None else plight.says,
        "unread_records": sum(unread) if unread else None,
        "watermark_age_seconds": max(0.0, (now.at_ms - min(passed)) / 1000) if passed and live else None,
    }


def _own(before: Look, now: Look, seen: WorkerSeen) -> list[Standing]:
    """A worker's share of its role's partitions."""
    found = standings(before, now, seen.worker.role)
    return [standing for (_, i), standing in found.items() if now.owns(seen.worker, i)]


def as_json(before: Look, now: Look, findings: list[Finding]) -> str:
    """Everything, for machines; times are epoch milliseconds."""
    return json.dumps(
        {
            "at_ms": now.at_ms,
            "before_ms": before.at_ms,
            "status": exit_status(findings),
            "roles": rows(before, now),
            "findings": [asdict(finding) for finding in findings],
        },
        indent=2,
    )


def show(before: Look, now: Look, findings: list[Finding], out: Console) -> None:
    """The same for people."""
    table = Table("role", "address", "up", "ready", "unread records", "watermark age")
    for row in rows(before, now):
        age = row["watermark_age_seconds"]
        table.add_row(
            row["worker"],
            row["address"],
            "yes" if row["answers"] else "NO",
            "yes" if row["ready"] else "NO",
            "-" if row["unread_records"] is None else f"{row['unread_records']:,}",
            "-" if age is None else f"{age:,.1f} s",
        )
    out.print(table, markup=False)
    advised: set[str] = set()
    for finding in findings:
        click.echo(line(finding, with_advice=finding.do not in advised))
        advised.add(finding.do)


def line(finding: Finding, *, with_advice: bool = True) -> str:
    """One finding; without what to do about it where a line before has said that."""
    place = ""
    if finding.topic is not None:
        place = f"{finding.topic} [{', '.join(map(str, finding.partitions))}]"
    window = "" if finding.window is None else f"window {_window(finding)}"
    since = "" if finding.since_ms is None else f"since {moment(finding.since_ms)}"
    where = ", ".join(part for part in (finding.role or "", place, window, since) if part)
    told = ": ".join(part for part in (f"{_SIGNS[finding.verdict]} {finding.check}", where, finding.says) if part)
    return f"{told}. Do: {finding.do}" if finding.do and with_advice else told


def _window(finding: Finding) -> str:
    assert finding.window is not None
    return f"{finding.window.measurement}/{finding.window.level} that ends {moment(finding.window.end_ms)}"
