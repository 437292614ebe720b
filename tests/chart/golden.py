"""The manifests that people install, as files to be read in a review: what a change of the chart changes shows there.

``make chart-golden`` writes them anew. Left out is what has its own source and its own tests: the content of dashboards
and of alerting rules, and the version, which stands in every label.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from chart.matrix import DOMAINS, release
from chart.rendering import CHART

FOLDER = Path(__file__).parent / "golden"
COMMAND = "make chart-golden"
ENTRIES: Mapping[str, str] = {
    **{name: name for name in DOMAINS},
    "kafka": "kafka's own namespace",
    "trial": "trial",
    "strimzi": "Strimzi",
}
"""File -> entry of the matrix."""

_VERSIONED = ("app.kubernetes.io/version", "helm.sh/chart")


class _Dumper(yaml.SafeDumper):
    """Text of several lines as it reads."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def manifest(file: str) -> str:
    """What a golden file must hold: every object of the release, hooks too, in Helm's order."""
    found = [_shown(one) for one in release(ENTRIES[file]).objects]
    parts = [
        "---\n" + yaml.dump(one, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120) for one in found
    ]
    return f"# {ENTRIES[file]}: written by `{COMMAND}`.\n" + "".join(parts)


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    meta = dict(one["metadata"])
    meta["labels"] = {name: value for name, value in meta["labels"].items() if name not in _VERSIONED}
    shown = {**one, "metadata": meta}
    if "-dashboard-" in meta["name"]:
        shown["data"] = dict.fromkeys(one["data"], "left out\n")
    if one["kind"] == "PrometheusRule":
        shown["spec"] = {"groups": [group["name"] for group in one["spec"]["groups"]]}
    return shown


def write() -> None:
    """Write all of them, and take away what no entry is behind."""
    made = {file: manifest(file) for file in ENTRIES}  # before anything is touched: Helm may refuse
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.yaml"):
        path.unlink()
    for file, text in made.items():
        (FOLDER / f"{file}.yaml").write_text(text)
    sys.stdout.write(f"{len(ENTRIES)} manifests of {CHART.name}; read what changed: git diff {FOLDER}\n")


if __name__ == "__main__":
    write()
