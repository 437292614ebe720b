"""``make fuzz EXECUTIONS=N``: all targets, each in a process of its own, and a table of what came of them."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz.drive import drive, load_targets

if TYPE_CHECKING:
    from fuzz.targets import Target

TARGETS = load_targets()

_LEAST = 2000
"""Executions that even the slowest target gets, where there are enough for all."""


def shares_of(executions: int, names: list[str]) -> dict[str, int]:
    """How many executions each target gets: at least ``executions`` together, by weight."""
    total = sum(TARGETS[name].weight for name in names)
    least = min(_LEAST, -(-executions // len(names)))
    return {name: max(least, math.ceil(executions * TARGETS[name].weight / total)) for name in names}


def _drive(target: Target, runs: int, folder: Path) -> int:
    """Begin a target in a process of its own, forked from this one, which has imported all that there is to import."""
    (folder / f"{target.name}.json").unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        with (folder / f"{target.name}.log").open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                drive(target, runs, folder)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(70)
    return child


def _result(name: str, status: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    text = f"ended with status {status}: a hang, too much memory or a crash; see {folder / name}.log"
    return {"target": name, "executions": 0, "seconds": 0, "findings": {text: ""}}


def _line(result: dict[str, Any]) -> str:
    seconds, cpu = result["seconds"], result.get("cpu_seconds", 0)
    each = 1e6 * cpu / result["executions"] if result["executions"] else 0
    return (
        f"{result['target']:<22}{result['executions']:>12,}{seconds:>10,.0f}{each:>14,.0f}"
        f"{result.get('slowest_seconds', 0):>10.2f}{result.get('peak_megabytes', 0):>8,.0f}"
        f"{len(result['findings']):>10}"
    )


def main() -> int:
    """Returns the number of findings, at most 1."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000, help="over all targets")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="findings, corpora and logs")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    unknown = sorted(set(names) - set(TARGETS))
    if unknown:
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    print(
        f"{'target':<22}{'executions':>12}{'seconds':>10}{'CPU us each':>14}{'slowest s':>10}{'MB':>8}{'findings':>10}"
    )
    runs = shares_of(options.executions, names)
    waiting, running, results = names[::-1], dict[int, str](), list[dict[str, Any]]()
    while waiting or running:
        while waiting and len(running) < options.jobs:
            name = waiting.pop()
            running[_drive(TARGETS[name], runs[name], options.folder)] = name
        child, status = os.wait()
        results.append(_result(running.pop(child), status, options.folder))
        print(_line(results[-1]), flush=True)
    findings = [(result["target"], place) for result in results for place in result["findings"]]
    drivers = ", ".join(sorted({result.get("driver", "none") for result in results}))
    total, cpu = sum(r["executions"] for r in results), sum(r.get("cpu_seconds", 0) for r in results)
    print(f"{'all':<22}{total:>12,} executions by {drivers}, {cpu:,.0f} CPU seconds, {len(findings)} findings")
    for name, place in findings:
        print(f"  {name}: {place}; its input is in {options.folder}")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
