"""The processor's instructions of a batch, by stage, where valgrind is: the guard for what no Python step shows.

``counts`` sees loops and arrays; it does not see that numpy or OpenSSL take longer over the same arrays. Here the same
turns run under callgrind, which is switched on for the calls alone and asked for its figure after each. It takes a
minute or two, so it is no part of the tests:

    python -m bench.performance.instructions            compare with instructions.json; exits 1 where one has moved
    python -m bench.performance.instructions --write    write the file anew, once a change is meant

Libraries choose their code by what the processor can do, and under valgrind that is what valgrind can do (AVX2, and no
AVX-512 or SHA extensions): figures are to be compared with each other, and do not give times. They are from one
machine's libraries, where repeated runs differ by half a percent: on another one, write the file anew before a change.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import msgspec

from bench.performance.in_process import Shape, Turns

KEPT = Path(__file__).with_name("instructions.json")
COMMAND = "python -m bench.performance.instructions --write"
ROWS = 4_096
TOLERANCE = 0.02
NOISE_TOLERANCE = 0.25
"""Of what draws noise: how many numbers a draw takes is chance."""
_DRAW_NOISE = ("a.checkpoint", "b.checkpoint")
_MEMBERS = 1_000
_TURNS = 3
_UNDER_VALGRIND = "--under-valgrind"

# Requests to callgrind (callgrind.h, "CT" << 16 and a number).
_BASE = 0x43540000
_ZERO, _DUMP, _START, _STOP = _BASE + 1, _BASE + 3, _BASE + 4, _BASE + 5
# valgrind.h's client request on x86-64: rotations that do nothing, which valgrind knows; rdi is the arguments' address.
_CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi
    "31d2"  # xor edx, edx: the answer of a processor without valgrind
    "48c1c703" "48c1c70d" "48c1c73d" "48c1c733"  # rol rdi, 3, 13, 61, 51: 128 in all
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)  # fmt: skip


class Requests:
    """Speaks to callgrind from within the process that it watches."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def ask(self, request: int, text: bytes = b"") -> None:
        """Send one request; without valgrind nothing happens."""
        name = ctypes.create_string_buffer(text)
        arguments = (ctypes.c_uint64 * 6)(request, ctypes.addressof(name), 0, 0, 0, 0)
        self._call(ctypes.addressof(arguments))


def run_under_valgrind() -> None:
    """What the watched process does: some turns, each call dumped by its name."""
    requests = Requests()

    def watched(role: str, entry: str, call: Callable[[], object]) -> None:
        requests.ask(_ZERO)
        requests.ask(_START)
        call()
        requests.ask(_STOP)
        requests.ask(_DUMP, f"{role}.{entry}".encode())

    with TemporaryDirectory() as folder:
        turns = Turns(Shape(ROWS, members=_MEMBERS), Path(folder))
        turns.run(2, lambda role, entry, call: cast(None, call()))
        turns.run(_TURNS, watched)


def count() -> dict[str, int]:
    """Instructions of one batch, by stage and entry point: the least of a few turns.

    Raises:
        RuntimeError: valgrind failed, or gave no figures.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
            sys.executable, "-m", "bench.performance.instructions", _UNDER_VALGRIND,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"valgrind ended with {done.returncode}: {done.stderr[-2_000:]}")
        return read_dumps(Path(folder))


def read_dumps(folder: Path) -> dict[str, int]:
    """The least figure of each name among callgrind's dumps."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in folder.glob("out.*"):
        name, total = "", 0
        with path.open() as lines:
            for line in lines:
                if line.startswith("desc: Trigger: Client Request: "):
                    name = line.removeprefix("desc: Trigger: Client Request: ").strip()
                elif line.startswith(("summary: ", "totals: ")):
                    total = max(total, int(line.split()[1]))
        if name and total:
            found[name].append(total)
    if not found:
        raise RuntimeError(f"callgrind left no figures in {folder}")
    return {name: min(totals) for name, totals in sorted(found.items())}


def moved(kept: dict[str, int], now: dict[str, int]) -> list[str]:
    """A line for each figure that differs by more than the tolerance."""
    lines = []
    for name in sorted(kept.keys() | now.keys()):
        before, after = kept.get(name), now.get(name)
        tolerance = NOISE_TOLERANCE if name in _DRAW_NOISE else TOLERANCE
        if before is None or after is None or abs(after / before - 1) > tolerance:
            change = "" if before is None or after is None else f"{after / before - 1:+.1%}"
            told = ("-" if value is None else f"{value:,}" for value in (before, after))
            lines.append("{:24} {:>14} {:>14}  {}".format(name, *told, change).rstrip())
    return lines


def main() -> int:
    """Compare, or write."""
    if _UNDER_VALGRIND in sys.argv[1:]:
        run_under_valgrind()
        return 0
    if shutil.which("valgrind") is None or platform.machine() != "x86_64":
        print("instructions are counted where valgrind is installed, on x86-64; nothing was compared", file=sys.stderr)
        return 0
    now = count()
    for name, instructions in now.items():
        print(f"{name:24} {instructions:>14,} {instructions / ROWS:>10,.0f} a row")
    if "--write" in sys.argv[1:]:
        KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
        return 0
    lines = moved(msgspec.json.decode(KEPT.read_bytes(), type=dict[str, int]), now)
    if lines:
        print(f"\nOf {KEPT.name} these have moved (kept, counted):\n", *lines, sep="\n")
        print(f"\nIf the change is meant: {COMMAND}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
