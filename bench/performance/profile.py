"""Where a role's CPU goes while it drains a backlog: the top of its profile, by library and by function.

    python -m bench.performance.profile [--roles seal attach a] [--events 1000000] [--out FOLDER]

By perf, which samples the processor's clock (`apt-get install -y linux-perf`); functions of Python itself stand as the
interpreter's own. With ``--out`` the recordings stay there, for a flame graph or `perf report`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.performance.amounts import Figure
from bench.performance.comparison import Broker, Plan, written_events
from bench.performance.drained import Drained, Shape
from streams.kafka.dev_broker import temporary_broker

_HERTZ = 999
_LIBRARIES, _FUNCTIONS = 10, 16


class Profiled(Drained):
    """A drain of which each role's turn is recorded.

    Args:
        out: the folder of the recordings. roles: which.
    """

    out: Path
    recorded: Sequence[str]

    def _turn(self, roles: Sequence[str], done: Callable[[], bool], outputs: Sequence[str]) -> dict[str, Figure]:
        recordings = [
            subprocess.Popen(
                ["perf", "record", "-q", "-F", str(_HERTZ), "-e", "cpu-clock", "-g", "-o", str(self.out / role)]
                + ["-p", str(self.pid(role))],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for role in roles
            if role in self.recorded
        ]
        try:
            return super()._turn(roles, done, outputs)
        finally:
            for recording in recordings:
                recording.send_signal(signal.SIGINT)
                recording.wait()


def top(recording: Path, by: str, count: int) -> list[str]:
    """The heaviest lines of a recording.

    Args:
        by: perf's sort keys, such as "dso" or "dso,symbol".
    """
    command = ["perf", "report", "-i", str(recording), "--no-children", "-g", "none", "--stdio", "--sort", by]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip() and not line.startswith("#")]
    return [line.replace(" - -", "") for line in lines[:count]]


def main() -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(prog="python -m bench.performance.profile", description=__doc__.splitlines()[0])
    parser.add_argument("--roles", nargs="+", default=["seal", "attach", "a"])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if shutil.which("perf") is None:
        print("error: perf is not here: apt-get install -y linux-perf", file=sys.stderr)
        return 1
    with TemporaryDirectory(prefix="evenstream-profile-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        out = options.out or folder / "recordings"
        out.mkdir(parents=True, exist_ok=True)
        with temporary_broker(folder / "broker", print) as broker:
            plan = Plan(events=options.events)
            place = Broker(broker.bootstrap, broker.pid, None)
            written = written_events(plan, place, print)
            shape = Shape("profile", plan.events, plan.partitions, members=plan.members)
            drained = Profiled(shape, folder / "deployment", broker.bootstrap, None, written)
            drained.out, drained.recorded = out, options.roles
            try:
                drained.run()
            finally:
                drained.close()
        for role in options.roles:
            print(f"== {role}: by thread and library", *top(out / role, "comm,dso", _LIBRARIES), sep="\n")
            print("-- by function", *top(out / role, "dso,symbol", _FUNCTIONS), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
