"""A live campaign run by itself, on the Kafka that KAFKA_BOOTSTRAP names or on one that is started for it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streams.errors import EvenstreamError
from streams.kafka.dev_broker import DevBroker

Figures = list[dict[str, Any]]


@contextmanager
def kafka(folder: Path, say: Callable[[str], None]) -> Iterator[str]:
    """The address of a Kafka for as long as it is needed."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    broker = DevBroker(folder)
    try:
        yield broker.start(progress=say).bootstrap
    finally:
        broker.stop()


def alone(
    name: str,
    run: Callable[..., Figures],
    section: Callable[[Sequence[dict[str, Any]]], str],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a campaign from the command line and print its section."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.performance.{name}")
    parser.add_argument("--quick", action="store_true", help="shorter, for a first look")
    parser.add_argument("--capacity", type=float, help="events a second that this machine carries; default: a ramp")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args(arguments)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", file=sys.stderr, flush=True)

    memory = Path("/dev/shm")  # a folder of its own is made in it
    place = str(memory) if os.access(memory, os.W_OK) else None
    more = {} if options.capacity is None else {"capacity": options.capacity}
    with TemporaryDirectory(prefix=f"bench-{name}-", dir=place, ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            with kafka(folder / "kafka", say) as bootstrap:
                figures = run(bootstrap, folder, options.quick, say, **more)
        except EvenstreamError as error:
            raise SystemExit(f"{name}: {error}") from None
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(section(figures))
    say("done")
