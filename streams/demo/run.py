"""The demo from first to last: set up, a fair minute, an unfair minute, a summary, a verdict."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console

from streams import replay
from streams.demo.live import FEED, MINUTE_MS, PRIMARIES, Schedule, play
from streams.demo.stack import DemoStack
from streams.demo.summary import summarise
from streams.demo.truth import SimulatedTruth, primaries
from streams.feed import Feed
from streams.simulate import SimulatedMembers, SimulatedRecommender

MEMBERS = 200_000
SEED = 20_261_124
_LOG_FILE_WIDTH = 130


class _Interrupted(Exception):
    """Ctrl-C, or a request to end."""


def run(root: Path, *, keep: bool, secure: bool = False) -> int:
    """Run the demo.

    Returns:
        0: every condition holds. 1: one does not. 130: it was interrupted before it could tell.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_FILE_WIDTH)  # a log file has no width of its own
    folder = root / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    stack = DemoStack(folder.absolute(), lambda line: console.print(line, highlight=False), secure=secure)

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Interrupted

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    status = 130
    try:
        status = _run(stack, console)
        if keep:
            _keep(stack, console)
    except _Interrupted:
        console.print("\nstopping what was started ...")
    finally:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave anything running
        stack.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return status


def _run(stack: DemoStack, console: Console) -> int:
    started = time.monotonic()
    stack.start_kafka()
    examples = Path(__file__).parents[2] / "examples"
    console.print(f"drawing {MEMBERS:,} members from the Census tables, making topics and keys ...")
    rng = np.random.default_rng(SEED)
    members = SimulatedMembers(rng, MEMBERS)
    stack.make_topics()
    feed = Feed(stack.settings)
    attributes = stack.settings.topic("member-attributes")
    feed.send_all(attributes, members.attributes())
    feed.send_all(attributes, replay.read_members(examples / PRIMARIES / "members.jsonl"))
    console.print("starting seal, attach, aggregate a, aggregate b, publish ...")
    stack.start_roles()
    approved = stack.approve_examples(examples)
    start_ms = approved[FEED].effective_from_ms
    assert start_ms is not None  # an approved measurement says when it takes effect
    begins = time.strftime("%H:%M", time.gmtime(start_ms / 1000))
    console.print(
        f"ready after {time.monotonic() - started:.0f} s; two measurements approved, from {begins} UTC on\n"
        f"live page: {stack.page_address}   metrics: {stack.metrics_address}",
        highlight=False,
    )
    recommender = SimulatedRecommender(rng, members, start_ms + MINUTE_MS)
    log = replay.read_events(examples / PRIMARIES / "events.jsonl", approved[PRIMARIES])
    schedule = Schedule(start_ms, approved[FEED], approved[PRIMARIES], recommender, log)
    seen = play(stack, console, schedule)
    recommender.write_truth(stack.folder / "truth.npz")
    truth = SimulatedTruth(members, recommender, approved[FEED].privacy.contribution_cap, start_ms)
    good = summarise(console, stack, schedule, seen, truth, primaries(examples / PRIMARIES))
    console.print(f"logs and the truth are in {stack.folder}", highlight=False)
    return 0 if good else 1


def _keep(stack: DemoStack, console: Console) -> None:
    """Keep everything up until Ctrl-C."""
    console.print(
        f"kept up: {stack.metrics_address} (traffic has stopped: the members' caps are spent). Ctrl-C stops it.\n"
        f"The live page is at {stack.page_address}: what was found, how sure, at what cost, and the alarm's review.\n"
        f"In another shell, after source .venv/bin/activate and export EVENSTREAM_CONFIG={stack.config}\n"
        "every command speaks to it, for example\n"
        "  evenstream measurement status          evenstream measurement verify\n"
        "  evenstream measurement history         evenstream measurement review simulated-feed\n"
        "  evenstream ledger show --party a       evenstream ledger verify --party b\n"
        "  evenstream concern raise --measurement simulated-feed --text 'why this one?'\n"
        f"  evenstream doctor {' '.join(f'--role {role}=127.0.0.1:{port}' for role, port in stack.ports.items())}\n"
        "  evenstream tail --from beginning --no-follow --level 1m --metric recommendation_rate\n"
        "  evenstream recompute --level 1m        evenstream review list\n"
        "  evenstream review decide ALARM --cause recommender --decision change --follow-up 'take the release back' "
        f"--key {stack.settings.keys.dir / 'governance' / 'reviewer-1.key'}\n"
        "  evenstream transparency --out page\n"
        "  evenstream measurement revoke simulated-feed --reason 'to see it stop' "
        f"--key {stack.settings.keys.dir / 'governance' / 'reviewer-3.key'}",
        highlight=False,
        soft_wrap=True,
    )
    while True:
        stack.watch()
        time.sleep(0.2)
