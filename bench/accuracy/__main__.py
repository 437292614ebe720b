"""``make accuracy``: run the campaign, write docs/accuracy.md and its figures; exit 1 where a required claim fails.

Each part keeps its figures in .evenstream/accuracy, so that the page can be written anew, or one part run again,
without the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from bench.accuracy import campaign, report

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".evenstream" / "accuracy"


@click.command()
@click.option("--quick", is_flag=True, help="A minute's run: the same page from far fewer windows; not to be kept.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(campaign.PARTS)), help="Run only these parts.")
@click.option("--report-only", is_flag=True, help="Run nothing: write the page from what the last runs have kept.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True, help="Processes to run on.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default="docs", help="A folder.")
def main(quick: bool, parts: tuple[str, ...], report_only: bool, processes: int, out: Path) -> None:
    """Do the estimates and their intervals hold what they promise?"""
    size = campaign.QUICK if quick else campaign.FULL
    kept = KEPT / ("quick" if quick else "full")
    kept.mkdir(parents=True, exist_ok=True)
    for name in () if report_only else parts or tuple(campaign.PARTS):
        work: Callable[..., dict[str, object]] = campaign.PARTS[name]
        (kept / f"{name}.json").write_text(json.dumps(work(size, processes), allow_nan=False))
    missing = [name for name in campaign.PARTS if not (kept / f"{name}.json").exists()]
    if missing:
        raise click.ClickException(f"the page needs the parts {', '.join(missing)} too: run them with --part")
    figures = {name: json.loads((kept / f"{name}.json").read_text()) for name in campaign.PARTS}
    failed = report.write(figures, out)
    click.echo(f"written: {out / 'accuracy.md'}")
    for claim in failed:
        click.echo(f"FAILS  {claim.text}: {claim.found}", err=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
