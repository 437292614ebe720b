"""Which records of `sealed` and `shares` nobody needs any more: the rule by which ``evenstream retention run`` deletes.

Records in flight are unreadable once the epochs that they were sealed to are destroyed; that they are deleted as well,
below the offsets that their readers have committed, is hygiene on top (DESIGN section 3). The offsets are believed: who
may commit to these groups can have unread records deleted (docs/threat-model.md).

**How the committed offsets are known.** The truth about positions is in each role's encrypted state. A copy goes to the
role's consumer group, once its transaction is committed (``streams.kafka.shard``): the groups DEPLOYMENT.attach,
DEPLOYMENT.a and DEPLOYMENT.b. It is never ahead of the truth, and no role ever reads it.

**What the command needs of Kafka**, under a principal of its own, `retention`, which holds no key of any role:

    topic     DEPLOYMENT.sealed, DEPLOYMENT.shares   Describe, Delete (DeleteRecords)
    group     DEPLOYMENT.attach, .a, .b              Describe (committed offsets)

``evenstream retention check`` reads besides: Read of sealed, shares, state-seal, state-attach, state-a, state-b and
keys. Its clients ask who coordinates their group, so it may describe the deployment's groups; it commits to none.

The roles `seal`, `attach`, `a` and `b` need Read of their own group (DEPLOYMENT.ROLE), to which they commit offsets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

KEPT = 1_000
"""So many offsets before the slowest reader's position stay, of each partition. Where a reader has stopped,
``evenstream skip`` sees in them how far each stream had come, and need not void what is not touched. In those of
`shares`, at each start, attach looks for its newest record of its own, to see whether its state is the last one
(``streams.roles.sent_shares``)."""


@dataclass(frozen=True)
class InFlight:
    """A topic whose records are deleted once all of its readers have them behind them.

    Attributes:
        topic: its short name.
        readers: roles, whose consumer groups tell how far they are.
        kept: how many offsets before the slowest reader's position stay, of each partition.
    """

    topic: str
    readers: tuple[str, ...]
    kept: int = KEPT


IN_FLIGHT = (InFlight("sealed", ("attach",)), InFlight("shares", ("a", "b")))


@dataclass(frozen=True)
class Held:
    """A partition of which nothing is deleted, and why."""

    i: int
    why: str


@dataclass(frozen=True)
class Deletion:
    """Records of partition ``i`` below ``before`` may go."""

    i: int
    before: int


def deletable(
    topic: InFlight,
    bounds: Mapping[int, tuple[int, int]],
    committed: Mapping[str, Mapping[int, int]],
) -> Iterator[Deletion | Held]:
    """What may be deleted of each partition, where that is anything, or why nothing may.

    Args:
        bounds: by partition, its first offset and its end.
        committed: by reader, the offsets that it has committed, by partition.
    """
    for i, (start, end) in sorted(bounds.items()):
        known = {role: committed.get(role, {}).get(i) for role in topic.readers}
        silent = [role for role, offset in known.items() if offset is None]
        offsets = [offset for offset in known.values() if offset is not None]
        if silent:
            yield Held(i, f"{', '.join(silent)} has committed no position yet, or its group has expired")
        elif max(offsets) > end:
            yield Held(i, f"a reader is at {max(offsets)} and the partition ends at {end}: was the topic made anew?")
        else:
            before = min(offsets) - topic.kept
            if before > start:
                yield Deletion(i, before)
