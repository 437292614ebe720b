"""Write the dashboards: ``python -m bench.dashboards`` (``make dashboards``)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder

import streams.watch
from bench.dashboards import measurement, overview, pipeline
from bench.dashboards.parts import Mark

FOLDER = Path(streams.watch.__file__).parent / "dashboards"


def rendered() -> dict[str, str]:
    """The JSON of each dashboard, by the name of its file."""
    return {
        "overview.json": _json(overview.dashboard(), overview.MARKS),
        "measurement.json": _json(measurement.dashboard(), measurement.MARKS),
        "pipeline.json": _json(pipeline.dashboard(), pipeline.MARKS),
    }


def _json(board: build.Dashboard, marks: Iterable[Mark]) -> str:
    tree = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
    tree["annotations"] = {"list": [mark.json() for mark in marks]}
    for number, panel in enumerate(tree["panels"], start=1):
        panel["id"] = number
    return json.dumps(tree, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)
        print(f"{FOLDER.name}/{name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
