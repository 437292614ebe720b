"""``make bench``: every campaign, one after the other on one Kafka, and the page that is written from their figures.

    python -m bench.performance [--quick] [--only PART ...] [--out FOLDER] [--page]

Figures are kept in FOLDER/performance/figures.json as soon as a part is done, so that a part can be measured anew by
itself (``--only``), and the page be written again from what is there (``--page``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.performance import campaign, page
from bench.performance.machine import describe
from streams.errors import EvenstreamError
from streams.kafka.dev_broker import temporary_broker

_OUT = Path("docs")
_QUICK_OUT = Path("build/performance")
_QUICK_PARTS = [part for part in campaign.PARTS if part != "memory"]
"""Peaks of a short run say nothing that is worth its minute."""


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.performance", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: four minutes; not for quoting")
    parser.add_argument("--only", nargs="+", choices=list(campaign.PARTS), default=[], help="measure these alone")
    parser.add_argument("--out", type=Path, help=f"where the page goes (default: {_OUT}; quick: {_QUICK_OUT})")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from the figures")
    options = parser.parse_args()
    out = options.out or (_QUICK_OUT if options.quick else _OUT)
    kept = out / "performance" / "figures.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if not options.page:
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            parts = _QUICK_PARTS if options.quick else list(campaign.PARTS)
            measure(figures, options.only or parts, options.quick, kept, _say)
        except EvenstreamError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_status
    if not figures:
        print(f"error: {kept} holds no figures: run without --page first", file=sys.stderr)
        return 1
    print(page.write(figures, out))
    print(f"written to {out / 'performance.md'}; a target that is missed is no error")
    if options.quick:
        print("a quick run: too short to be quoted, and start-up weighs more than it does")
    return 0


def measure(figures: dict[str, Any], parts: list[str], quick: bool, kept: Path, say: Callable[[str], None]) -> None:
    """Run parts, and keep the figures of each as soon as it is done."""
    begun = time.monotonic()
    with TemporaryDirectory(prefix="evenstream-bench-", dir=_in_memory(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
        if bootstrap:
            say(f"using the Kafka at {bootstrap}: its CPU and what it writes to its disk are not known here")
            _run(figures, parts, campaign.Place(bootstrap, None, None, folder, quick, say), kept, begun)
            return
        with temporary_broker(folder / "broker", say) as broker:
            place = campaign.Place(broker.bootstrap, broker.pid, folder / "broker" / "data", folder, quick, say)
            _run(figures, parts, place, kept, begun)


def _run(figures: dict[str, Any], parts: list[str], place: campaign.Place, kept: Path, begun: float) -> None:
    for part in parts:
        place.say(f"== {part} ({time.monotonic() - begun:.0f} s so far)")
        started = time.monotonic()
        machine = describe()
        before = {name: kept_part["figures"] for name, kept_part in figures.items()}
        found = campaign.PARTS[part].run(replace(place, found=before))
        figures[part] = {
            "machine": machine,
            "quick": place.quick,
            "seconds": round(time.monotonic() - started),
            "figures": found,
        }
        kept.write_text(json.dumps(figures, indent=1) + "\n")
    place.say(f"measured in {time.monotonic() - begun:.0f} s")


def _in_memory() -> str | None:
    """Where memory serves as a disk, so that another disk's mood is in no figure; None: the system's own folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
