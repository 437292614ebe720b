"""The guard: what a batch takes in each stage, counted, and held against what is kept in ``counts.json``.

No time is measured, so the figures are the same on any machine (``counting`` says what is counted). Every call is
counted with two lengths of a batch, which gives what it takes *a batch* and what *a row*. A stage that handles rows as
arrays takes no Python step a row, and an array more than before shows in the bytes a row.

    python -m bench.performance.counts            compare; exits 1 where a count has moved
    python -m bench.performance.counts --write    write the file anew, once a change is meant
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import msgspec
import numpy as np
from confluent_kafka import Message

from bench.performance.counting import NOTHING, Counted, counted
from bench.performance.in_process import Shape, Turns
from streams.kafka.shard import ShardLoop
from streams.stage import Stage

KEPT = Path(__file__).with_name("counts.json")
COMMAND = "python -m bench.performance.counts --write"
ROWS = (256, 2_048)

STEPS_A_ROW = 0.25
"""A loop over rows takes three steps a row or more; chains of a hash table that are a round longer take less."""
STEPS_RATIO = 0.05
BYTES_RATIO = 0.005
_STEPS_A_BATCH = 64
_BYTES_A_ROW = 7.0  # less than one number of 64 bits
_BYTES_A_BATCH = 32_768
# Members of the counted store: few enough that its hash table's chains are about as long whatever the secret key.
_MEMBERS = 1_000
_WARM_UP_TURNS = 2
# Other versions of Python divide the same code into other steps, and their objects are of other sizes.
_OTHER_PYTHON_STEPS_RATIO = 0.4
_OTHER_PYTHON_BYTES_RATIO = 0.02


class Cost(msgspec.Struct, frozen=True):
    """What one function takes: a batch, and beside that a row."""

    steps_a_batch: float
    steps_a_row: float
    bytes_a_batch: float
    bytes_a_row: float

    @classmethod
    def of(cls, few: Counted, many: Counted) -> Cost:
        """From the counts with ``ROWS[0]`` and with ``ROWS[1]`` rows."""
        steps, size = ((getattr(many, name) - getattr(few, name)) / (ROWS[1] - ROWS[0]) for name in ("steps", "bytes"))
        return cls(
            round(few.steps - ROWS[0] * steps), round(steps, 2), round(few.bytes - ROWS[0] * size), round(size, 1)
        )


class Kept(msgspec.Struct, frozen=True):
    """The file: which versions it was counted with, and the costs by function."""

    python: str
    numpy: str
    costs: dict[str, Cost]


@dataclass(frozen=True)
class Moved:
    """A count that is not what is kept; ``kept`` or ``now`` is None where there is none."""

    function: str
    what: str
    kept: float | None
    now: float | None

    @property
    def difference(self) -> str:
        """In words."""
        if self.kept is None or self.now is None:
            return "new" if self.kept is None else "gone"
        change = f"{self.now - self.kept:+,.1f}"
        return f"{change} ({100 * (self.now / self.kept - 1):+.1f} %)" if self.kept else change


# -- counting ----------------------------------------------------------------------------------------------------------


def count() -> dict[str, Cost]:
    """Count every hot function once with each length of a batch; about two seconds."""
    few, many = (_counted_turn(rows) | {"shard._sort_out": _counted_sorting(rows)} for rows in ROWS)
    return {name: Cost.of(few[name], many[name]) for name in few}


def _counted_turn(rows: int) -> dict[str, Counted]:
    found: dict[str, Counted] = {}

    def count_it(role: str, entry: str, call: Callable[[], object]) -> None:
        # What one party takes, the other takes as well but for opening its share.
        if role in ("seal", "attach", "a") or (role, entry) == ("b", "step"):
            name = f"{'aggregate ' if role in 'ab' else ''}{role}.{entry}"
            found[name] = found.get(name, NOTHING) + counted(call)
        else:
            call()

    with TemporaryDirectory() as folder:
        turns = Turns(Shape(rows, members=_MEMBERS), Path(folder))
        # Before it, keys are wrapped and state arrays grow: once, and not with every batch.
        turns.run(_WARM_UP_TURNS, lambda role, entry, call: cast(None, call()))
        turns.run(1, count_it)
    return found


def _counted_sorting(rows: int) -> Counted:
    messages = [Message(topic="sealed", partition=0, offset=k, value=b"") for k in range(rows)]
    # Asked of good messages the loop needs nothing of its own, nor of its stage.
    loop, stage = cast(ShardLoop, None), cast(Stage, None)
    return counted(lambda: ShardLoop._sort_out(loop, messages, stage))  # noqa: SLF001  # what the loop does a message


# -- comparing ---------------------------------------------------------------------------------------------------------


def moved(kept: Kept, now: dict[str, Cost]) -> list[Moved]:
    """The counts that differ from what is kept by more than the tolerance: fewer as well, for then it keeps nothing."""
    same = kept.python == _python()
    steps_ratio = STEPS_RATIO if same else _OTHER_PYTHON_STEPS_RATIO
    bytes_ratio = BYTES_RATIO if same else _OTHER_PYTHON_BYTES_RATIO
    found = []
    for function in sorted(kept.costs.keys() | now.keys()):
        before, after = kept.costs.get(function), now.get(function)
        if before is None or after is None:
            found.append(Moved(function, "counted", None if before is None else 1, None if after is None else 1))
            continue
        for what, ratio, least in (
            ("steps_a_row", 0.0 if same else steps_ratio, STEPS_A_ROW),
            ("steps_a_batch", steps_ratio, _STEPS_A_BATCH),
            ("bytes_a_row", bytes_ratio, _BYTES_A_ROW),
            ("bytes_a_batch", bytes_ratio, _BYTES_A_BATCH),
        ):
            was, is_now = getattr(before, what), getattr(after, what)
            if abs(is_now - was) > max(least, ratio * abs(was)):
                found.append(Moved(function, what, was, is_now))
    return found


def told(differences: list[Moved]) -> str:
    """The counts that moved, as a table, and what to do about them."""
    rows = [("function", "count", "kept", "counted", "difference")]
    for one in differences:
        kept, now = ("-" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".") for value in (one.kept, one.now))
        rows.append((one.function, one.what.replace("_", " "), kept, now, one.difference))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return (
        f"What a batch takes is not what {KEPT.name} keeps:\n\n{table}\n\n"
        "More steps a row: a loop over rows. More bytes a row: an array more than before. If the change is meant, "
        f"write the file anew and commit it with the change:\n\n    {COMMAND}\n"
    )


def read() -> Kept:
    """What is kept."""
    return msgspec.json.decode(KEPT.read_bytes(), type=Kept)


def write(costs: dict[str, Cost]) -> None:
    """Keep these."""
    kept = Kept(_python(), np.__version__, costs)
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> int:
    """Compare, or write."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    now = count()
    if "--write" in sys.argv[1:]:
        write(now)
        print(f"wrote {len(now)} functions to {KEPT}")
        return 0
    differences = moved(read(), now)
    print(told(differences) if differences else f"{len(now)} functions take what {KEPT.name} keeps")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
