"""``python -m bench.live_page pictures`` and ``python -m bench.live_page load``."""

from __future__ import annotations

from pathlib import Path

import click

from bench.live_page import load as loading
from bench.live_page import pictures as drawing


@click.group()
def main() -> None:
    """Look at the live page."""


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True)
def pictures(out: Path) -> None:
    """Photograph the live page of a run that turns unfair; about four minutes."""
    for path in drawing.run(click.echo, out):
        click.echo(f"{path}: {path.stat().st_size / 1000:.0f} kB")


@main.command()
@click.option("--pages", default=200, show_default=True, help="Open pages.")
@click.option("--rounds", default=3, show_default=True, help="With none and with so many, in turn.")
@click.option("--windows", default=20, show_default=True, help="Windows of each turn.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="What they are of; may come several times.")
def load(pages: int, rounds: int, windows: int, paths: tuple[str, ...]) -> None:
    """Time publication with no page and with many pages open."""
    click.echo(loading.HEAD)
    made = loading.run(click.echo, pages=pages, rounds=rounds, windows=windows, looked_at=paths)
    click.echo("\nall turns together")
    click.echo(loading.table(made))


main()
