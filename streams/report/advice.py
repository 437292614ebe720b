"""What to do about the size of a deployment, in sentences: what brings it about, and what stands in its way."""

from __future__ import annotations

import math
from collections.abc import Iterator

from streams.report import amounts
from streams.sizing import Size
from streams.sizing.cores import BUSIEST
from streams.sizing.deployment import MOST_PARTITIONS, START_SECONDS, party_limit
from streams.sizing.traffic import interval_seconds

_MIB = 2**20
CHART_LIMIT_BYTES = {
    "seal": 512 * _MIB,
    "attach": 1024 * _MIB,
    "a": 512 * _MIB,
    "b": 512 * _MIB,
    "publish": 1024 * _MIB,
}
"""What helm/evenstream lets each worker take, unless its values say otherwise."""
_WORTH_SHARE = 0.1  # of a core: what batches must cost attach before it is worth a word
_LONGEST_SECONDS = 60.0  # that the setting allows


def advice_of(size: Size) -> list[str]:
    """The sentences, the most urgent first."""
    return [*_misfits(size), *_scale(size), *_memory(size), _parties(size), *_thin(size)]


def _misfits(size: Size) -> Iterator[str]:
    layout = size.layout
    seal, attach = size.role("seal"), size.role("attach")
    if seal.busiest > BUSIEST:
        yield (
            f"NOT ENOUGH: seal has {_share(seal.busiest)} on its busiest worker with {layout.seal} workers, and source "
            f"topics of {layout.sources} partitions allow no more: give them more partitions, or thin the events"
        )
    if attach.busiest > BUSIEST:
        yield (
            f"NOT ENOUGH: attach has {_share(attach.busiest)} on its busiest worker with {layout.attach} workers, and "
            f"{layout.partitions} partitions allow no more: {_more_partitions(layout.partitions)}"
        )
    if size.start_seconds > START_SECONDS:
        yield (
            f"attach takes {amounts.duration(size.start_seconds)} to load its members at each start, with "
            f"{layout.attach} workers on {layout.partitions} partitions; windows wait meanwhile: "
            f"{_more_partitions(layout.partitions)}"
        )
    if size.role("publish").busiest > BUSIEST:
        yield (
            f"NOT ENOUGH: publish has {_share(size.role('publish').busiest)}, and it is one worker: longer windows, "
            "fewer cells, or measurements in several deployments"
        )


def _more_partitions(partitions: int) -> str:
    if partitions < MOST_PARTITIONS:
        return f"a new deployment with more of them (topics.partitions, up to {MOST_PARTITIONS})"
    return "split members or measurements over several deployments"


def _share(busiest: float) -> str:
    return f"{100 * busiest:,.0f} % of a core to do"


def _scale(size: Size) -> Iterator[str]:
    layout = size.layout
    if layout.partitions > size.load.settings.topics.partitions:
        yield f"topics.partitions must be {layout.partitions}, before topics are made: it is fixed for a deployment"
    for role, workers in (("seal", layout.seal), ("attach", layout.attach)):
        if workers > 1:
            yield f"{role} needs {workers} workers: evenstream scale {role} {workers}"
    if layout.seal > 1:
        yield f"source topics are taken to have {layout.sources} partitions; seal needs at least {layout.seal}"


def _memory(size: Size) -> Iterator[str]:
    for role in size.roles:
        if role.bytes > CHART_LIMIT_BYTES[role.role]:
            yield (
                f"{role.role} needs a limit of {amounts.size(role.bytes)} of memory for each worker; with the chart's "
                f"own it has {amounts.size(CHART_LIMIT_BYTES[role.role])} (roles.{role.role}.resources.limits.memory)"
            )


def _parties(size: Size) -> str:
    limit, busy = size.party_limit, size.role("a").busiest
    if math.isinf(limit):
        return "the parties, one worker each, are no limit at any rate that there is"
    beyond = "thin the events (a sample of members), or split measurements over deployments"
    if busy > BUSIEST:
        return (
            f"NOT ENOUGH: each party is one worker and has {_share(busy)}. With {size.layout.partitions} x "
            f"{size.layout.sources} partitions it has room for about {_about(limit)} rows a second: {beyond}"
        )
    return (
        f"the parties, one worker each, are the limit from about {_about(limit)} rows a second on: beyond it, {beyond}"
    )


def _about(number: float) -> str:
    """Two significant digits: a limit is no more certain."""
    return amounts.count(float(f"{number:.1e}"))


def _thin(size: Size) -> Iterator[str]:
    """Batches with few rows cost what full ones do; a longer interval fills them, and no window waits for it."""
    load, batches = size.load, sum(size.traffic.batches)
    rows, base = load.rows / batches, min(demand.measurement.base_ms for demand in load.demands) / 1000
    longest = min(base, _LONGEST_SECONDS)
    cost = batches * size.constants.cpu["attach"]["batches"]
    if rows > load.settings.seal.batch_rows / 2 or cost < _WORTH_SHARE:
        return
    if longest < 1.5 * interval_seconds(load, size.layout):
        yield (
            f"a batch holds {amounts.count(rows)} rows, of up to {load.settings.seal.batch_rows:,}, and costs what a "
            "full one does: fewer partitions, here or of the source topics, or longer windows would fill them"
        )
        return
    limit = party_limit(load.committing_each(longest), size.layout, size.constants)
    yield (
        f"a batch holds {amounts.count(rows)} rows, of up to {load.settings.seal.batch_rows:,}, and costs what a full "
        f"one does: seal.commit_interval_seconds {longest:g} fills them, no window waits for it, and the parties then "
        f"have room for about {_about(limit)} rows a second"
    )
