"""Clocks around the parts of a stage, while it does its real work.

A part is a function by its place in the code. Time within a part that another part takes is the other's: what is told
of each is its own, and all of them add up to the whole. A clock costs a microsecond or two of each call, so figures of
batches of a few rows are to be read beside the whole stage's, which is measured without.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any

PARTS: dict[str, tuple[str, ...]] = {
    "decode JSON": ("streams.roles.decoding:EventDecoder.decode",),
    "arrival": ("streams.roles.seal:SealStage._arrivals",),
    "late and future": ("streams.roles.seal:SealStage._take",),
    "partition (murmur2)": ("streams.roles.seal:murmur2", "streams.roles.seal:to_partition"),
    "batch: add": ("streams.roles.batching:Batcher.add",),
    "batch: shuffle": ("streams.roles.batching:_random_places",),
    "batch: header": ("streams.roles.batching:encode_header", "streams.records.batches:decode_header"),
    "commitment": ("streams.roles.batching:commit", "streams.roles.aggregate:check"),
    "AEAD": ("secure_agg.envelopes:DataKey.seal", "secure_agg.envelopes:DataKey.open"),
    "sign (Ed25519)": ("secure_agg.identity:Identity.sign",),
    "verify (Ed25519)": ("secure_agg.identity:PinnedIdentities.verify",),
    "digests (SHA-256)": ("streams.records.batches:sha256",),
    "record: take apart": ("streams.records.batches:SealedBatch.decode", "streams.records.batches:SharesBatch.decode"),
    "record: put together": (
        "streams.records.batches:SealedBatch.encode",
        "streams.records.batches:SharesBatch.encode",
    ),
    "members: hash ids": ("estimator.members:MemberStore.tag",),
    "members: look up": ("estimator.members:MemberStore.find_tags",),
    "rotation": ("privacy.rotation:Rotation.counts",),
    "cap": ("privacy.caps:ContributionCap.select",),
    "probabilities": ("streams.roles.attach:probabilities_of",),
    "fixed point": ("streams.roles.attach:to_fixed_point",),
    "moments": ("streams.roles.channel_layout:moments_of",),
    "channels": ("streams.roles.channel_layout:ChannelLayout.values",),
    "split (ChaCha20)": ("streams.roles.attach:split",),
    "open cells": ("streams.roles.aggregate:AggregateStage._open_cells",),
    "open share": ("streams.roles.aggregate:AggregateStage._open_share",),
    "expand (ChaCha20)": ("streams.roles.aggregate:expand",),
    "fold": ("secure_agg.accumulator:sum_by_cell",),
    "noise and release": ("streams.roles.releasing:ReleaseDesk.release",),
    "state": ("streams.state:StateCodec.encode",),
    "combine": ("streams.roles.publish:PublishCore._join",),
    "disparities": ("streams.roles.noised_window:disparities",),
}
"""Name -> the functions that do it, as "module:attribute"; a module's own name for what it imported counts."""


@dataclass(frozen=True)
class Clocks:
    """Seconds of CPU that each part took for itself since :meth:`clear`."""

    own: defaultdict[str, float]

    def clear(self) -> None:
        """Begin anew."""
        self.own.clear()


@contextmanager
def clocks() -> Iterator[Clocks]:
    """Put the clocks on; they are off again afterwards.

    Raises:
        LookupError: a part is not where ``PARTS`` says: the code has moved, and the table must follow.
    """
    found = Clocks(defaultdict(float))
    within = [0.0]
    undo: list[tuple[Any, str, Any]] = []
    try:
        for part, places in PARTS.items():
            for place in places:
                owner, name = _owner_of(place)
                kept = owner.__dict__[name]
                undo.append((owner, name, kept))
                setattr(owner, name, _clocked(kept, part, found, within))
        yield found
    finally:
        for owner, name, kept in reversed(undo):
            setattr(owner, name, kept)


def _owner_of(place: str) -> tuple[Any, str]:
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner: Any = import_module(module)
    for step in outer:
        owner = getattr(owner, step, None)
    if name not in getattr(owner, "__dict__", {}):
        raise LookupError(
            f"there is no {place}, which bench/performance/parts.py puts a clock around: name its new place"
        )
    return owner, name


def _clocked(kept: Any, part: str, found: Clocks, within: list[float]) -> Any:
    """The same function, or class method, with a clock."""
    if isinstance(kept, classmethod | staticmethod):
        return type(kept)(_clocked(kept.__func__, part, found, within))
    function: Callable[..., Any] = kept

    @wraps(function)
    def clocked(*arguments: Any, **named: Any) -> Any:
        within.append(0.0)
        begun = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            took = time.thread_time() - begun
            found.own[part] += took - within.pop()
            within[-1] += took

    return clocked
