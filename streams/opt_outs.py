"""Opting members out in bulk: one ``member-attributes`` record a member, in the partition that attach reads it from.

What is written is ``{"opt_out": true}``, not a tombstone. Both take the member out with attach's next batch, remove
names, place and Self-ID from the newest record, and overwrite what attach holds of them. But a tombstone is gone from a
compacted topic after a day, and the member is then as one who was never known; the flag stays, so that anyone who may
read the topic can see that the wish was recorded. Neither undoes a profile system that writes the member's attributes
again without the flag: whoever owns the record must keep the wish as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.errors import InputError
from streams.feed import Feed, Progress
from streams.roles.attribute_records import MAX_ID_BYTES, OPT_OUT, is_member_id


def read_ids(lines: Iterable[bytes], origin: str) -> list[bytes]:
    """Member ids, one a line; empty lines are left out.

    Args:
        lines: as read from a file that was opened in binary mode.
        origin: what to call it in an error.

    Raises:
        InputError: a line can be no member's id, or there is none at all. The message names its line, never the id.
    """
    ids = []
    for number, line in enumerate(lines, 1):
        member = line.rstrip(b"\r\n")
        if not member:
            continue
        if not is_member_id(member):
            raise InputError(
                f"{origin}, line {number}: expected a member id of 1 to {MAX_ID_BYTES} bytes without NUL, got "
                f"{len(member)} bytes. Nothing was written"
            )
        ids.append(member)
    if not ids:
        raise InputError(f"{origin} holds no member ids; expected one a line")
    return ids


def opt_out(feed: Feed, topic: str, ids: list[bytes], show: Progress) -> None:
    """Write the records, and return when all are durable.

    Args:
        topic: full name of ``member-attributes``.

    Raises:
        KafkaUnavailable: some were not written; writing all of them again does no harm.
    """
    feed.send_each(topic, ids, OPT_OUT, show)
