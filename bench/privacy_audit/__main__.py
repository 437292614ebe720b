"""``make audit-privacy``: run the audit, print it, write docs/privacy-audit.md; exit 1 where it fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bench.privacy_audit import report
from bench.privacy_audit.audit import FULL, audit

PAGE = Path(__file__).parents[2] / "docs" / "privacy-audit.md"


@click.command(context_settings={"show_default": True})
@click.option("--windows", type=click.IntRange(min=10), default=FULL.windows, show_default=True, help="Trials a side.")
@click.option(
    "--planted", type=click.IntRange(min=10), default=FULL.planted, show_default=True, help="Of planted bugs."
)
@click.option("--repetitions", type=click.IntRange(min=1), default=FULL.repetitions, show_default=True, help="Of each.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="Processes to run on.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=PAGE, show_default="docs", help="A page."
)
def main(windows: int, planted: int, repetitions: int, processes: int, out: Path) -> None:
    """Can two neighbouring inputs be told apart better than the budget promises?"""
    found = audit(replace(FULL, windows=windows, planted=planted, repetitions=repetitions), processes)
    report.show(found, Console(width=200))
    out.parent.mkdir(parents=True, exist_ok=True)
    report.write(found, out)
    click.echo(f"written: {out}")
    sys.exit(1 if found.problems else 0)


if __name__ == "__main__":
    main()
