"""Runs one target for a number of executions, in a process of its own.

Coverage-guided by atheris (libFuzzer) where that is installed, else by plain mutation of the seeds. What escapes a
target is noted once for each place that raises it, with the shortest input, and the run goes on. Writes
``FOLDER/TARGET.json``; a hang, too much memory or a crash of the interpreter ends the process without it.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import atheris
except ImportError:
    atheris = None  # type: ignore[assignment,unused-ignore]

if TYPE_CHECKING:
    from fuzz.targets import Target

MAX_BYTES = 4096
SECONDS_AN_INPUT = 60
MEMORY_BYTES = 3 << 30
_WATCHED = (
    *("streams.records", "streams.state", "streams.control", "streams.settings", "streams.replay"),
    *("streams.concern_book", "streams.roles.decoding", "streams.roles.json_fields", "streams.roles.attribute_records"),
    *("streams.roles.member_directory", "streams.roles.publish", "streams.roles.noised_window"),
    *("streams.roles.signed_log", "streams.roles.log_partition", "streams.roles.sequence", "estimator.names"),
    *("secure_agg.envelopes", "secure_agg.keyring", "secure_agg.epochs", "privacy.approvals", "privacy.revocation"),
    *("privacy.decisions", "privacy.ledger", "privacy.measurement", "privacy.spec_text", "privacy.spec_problems"),
)
"""Modules whose branches guide atheris: those that take bytes apart. Each more costs every execution."""

_TOKENS = (b"\0", b"\xff", b"ES\x01", b"ES\x02", b"\xc4\x20", b"\x90", b"{}", b"[]", b"null", b'"', b"\\ud800",
           b"1e999", b"-1", b"9" * 400, b"[" * 300, b"{\"a\":" * 200, b": ", b"\n- ", b"&a ", b"*a",
           b"!!python/name:os ", b"NaN", b"\xef\xbb\xbf", b"\xe2\x80\xa8")  # fmt: skip


def mutations(seeds: tuple[bytes, ...], random_: random.Random) -> Iterator[bytes]:
    """Inputs without end: the seeds, cut, spliced, flipped, and with words in them that decoders stumble over."""
    pool = [*seeds, b""]
    yield from pool
    while True:
        data = bytearray(random_.choice(pool))
        for _ in range(random_.choice((1, 1, 2, 3, 8))):
            place = random_.randint(0, len(data))
            way = random_.randrange(6)
            if way == 0 and data:
                data[place % len(data)] ^= 1 << random_.randrange(8)
            elif way == 1:
                del data[place : place + random_.choice((1, 2, 8, 64))]
            elif way == 2:
                data[place:place] = random_.randbytes(random_.choice((1, 2, 4, 8)))
            elif way == 3:
                data[place : place + random_.choice((0, 1, 4))] = random_.choice(_TOKENS)
            elif way == 4 and data:
                start = random_.randrange(len(data))
                data[place:place] = data[start : start + random_.choice((4, 32, 256))]
            else:
                other = random_.choice(pool)
                start = random_.randint(0, len(other))
                data[place:] = other[start:]
        found = bytes(data[:MAX_BYTES])
        if random_.random() < 0.02 and len(pool) < 500:
            pool.append(found)
        yield found


class _Formatting(logging.Handler):
    """Log lines are made, as in a role, and thrown away."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()


class Run:
    """Counts executions and what escaped."""

    def __init__(self, target: Target, runs: int, folder: Path) -> None:
        self._name, self._target, self._runs, self._folder = target.name, target.run, runs, folder
        self._done = 0
        self._begun, self._cpu = time.monotonic(), time.process_time()
        self._slowest = 0.0
        self.findings: dict[str, bytes] = {}

    def one(self, data: bytes) -> None:
        """One execution; the last one ends the process."""
        begun = time.process_time()
        try:
            self._target(data)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {str(error)[:120]}"
            key = place.split(": ")[0]
            known = next((known for known in self.findings if known.startswith(key)), None)
            if known is None or len(data) < len(self.findings[known]):
                self.findings.pop(known or "", None)
                self.findings[place] = data
                (self._folder / f"{self._name}-{abs(hash(key)) % 10**8}.input").write_bytes(data)
        self._slowest = max(self._slowest, time.process_time() - begun)
        self._done += 1
        if self._done >= self._runs:
            self.finish()

    def finish(self) -> None:
        """Write what came of it. ``os._exit``: libFuzzer has its own end, which knows nothing of ours."""
        result = {
            "target": self._name,
            "executions": self._done,
            "seconds": time.monotonic() - self._begun,
            "cpu_seconds": time.process_time() - self._cpu,
            "slowest_seconds": self._slowest,
            "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "driver": "plain mutation" if atheris is None else "atheris",
            "findings": {place: data.hex() for place, data in self.findings.items()},
        }
        (self._folder / f"{self._name}.json").write_text(json.dumps(result))
        sys.stdout.flush()
        os._exit(0)


def load_targets() -> dict[str, Target]:
    """The targets, with atheris' eyes in the code that they run where it is installed."""
    if atheris is None:
        from fuzz.targets import TARGETS
    else:
        with atheris.instrument_imports(include=[*_WATCHED]):
            from fuzz.targets import TARGETS
    return TARGETS


def drive(target: Target, runs: int, folder: Path) -> None:
    """Run one target, and end this process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(handlers=[_Formatting()], level=logging.INFO)
    run, name = Run(target, runs, folder), target.name
    if atheris is None:
        for data in mutations(target.seeds, random.Random(name)):
            run.one(data)
    corpus = folder / f"{name}.corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / f"{name}.dict"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in _TOKENS))
    limits = (f"-max_len={MAX_BYTES}", f"-timeout={SECONDS_AN_INPUT}", f"-rss_limit_mb={MEMORY_BYTES >> 20}")
    atheris.Setup(
        ["fuzz", *limits, f"-artifact_prefix={folder}/{name}-", f"-dict={words}", "-verbosity=0", str(corpus)],
        run.one,
        enable_python_coverage=True,
    )
    atheris.Fuzz()
