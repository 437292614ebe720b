"""How long each record on Kafka is, counted from its format (``streams.records``, ``streams.state``).

What has a fixed layout is added up here from named parts; what is MessagePack goes through the record's own encoder,
with numbers of the size that a deployment has after some days. Tests hold all of it against what the roles write, so
that a format does not change without it. Bytes are those of the record's value, before Kafka's own framing.
"""

from __future__ import annotations

import msgspec

from privacy import Measurement
from secure_agg.commitments import DIGEST_BYTES, SALT_BYTES
from secure_agg.sharing import SEED_BYTES
from streams.cell_layout import layout_of
from streams.records.batches import Extension, SharesBatch
from streams.records.header import Header, encode_header
from streams.records.punctuation import Counting, Passage, Punctuation, SourceProgress
from streams.records.release import Release, ReleasedChannel
from streams.roles.channel_layout import ChannelLayout
from streams.roles.sequence import REMEMBERED
from streams.roles.source_partition import SourceState

NOW_MS = 1_800_000_000_000
"""A time of the size that times have; also of an epoch's number, which is one."""
_SEQUENCE = 1_000_000
_OFFSET = 100_000_000
_SIGNATURE_BYTES = 64
_SEALED_BYTES = 12 + 16
"""What AES-256-GCM adds: a nonce in front and a tag behind."""
_STATE_BYTES = 8 + _SEALED_BYTES
"""What ``streams.state`` adds: the state key's number, nonce and tag."""
_PROCESS = bytes(8)
_DIGEST = bytes(32)

RECORD_BYTES = 10
"""Kafka's framing of a record: its attributes, differences of time and offset, and lengths."""
BATCH_BYTES = 61
"""Head of a batch of records; a producer makes one for each partition and transaction, unless it grows to 1 MB."""
MARKER_BYTES = 78
"""The control record that ends a transaction, one in each partition that it touched."""


def _frame(sections: int) -> int:
    return 6 + 4 * sections


def header_bytes(measurement: Measurement, rows: float) -> int:
    """A batch header."""
    return len(
        encode_header(
            Header(
                measurement=measurement.id,
                revision=measurement.revision,
                spec=_DIGEST,
                window_end_ms=NOW_MS,
                source=_DIGEST,
                i=1,
                j=1,
                sequence=_SEQUENCE,
                rows=max(1, round(rows)),
                process=_PROCESS,
                attach_epoch=NOW_MS,
                a_epoch=NOW_MS,
                b_epoch=NOW_MS,
                commitment=_DIGEST,
            )
        )
    )


def _cells_bytes(rows: float) -> float:
    return _SEALED_BYTES + SALT_BYTES + 2 * rows


def sealed_bytes(measurement: Measurement, rows: float, header: int | None = None) -> float:
    """A batch on `sealed`.

    Args:
        rows: of the batch; a mean need be no whole number.
        header: the length of its header, if it is known better than by :func:`header_bytes`.
    """
    head = header_bytes(measurement, rows) if header is None else header
    members = _SEALED_BYTES + rows * measurement.source.member_max_bytes
    return _frame(5) + head + members + 2 * _cells_bytes(rows) + _SIGNATURE_BYTES


def shares_bytes(measurement: Measurement, rows: float, header: int | None = None) -> float:
    """A batch on `shares`; arguments as of :func:`sealed_bytes`."""
    head = header_bytes(measurement, rows) if header is None else header
    layout = ChannelLayout.of(measurement)
    extension = Extension(_PROCESS, NOW_MS, NOW_MS, layout.bits, layout.columns, layout.tail)
    share_a = _SEALED_BYTES + SEED_BYTES
    share_b = _SEALED_BYTES + 8 * (rows * layout.columns + layout.tail)
    signatures = 1 + _SIGNATURE_BYTES + _SIGNATURE_BYTES
    own = len(SharesBatch.encode_extension(extension)) + share_a + share_b
    return _frame(9) + head + DIGEST_BYTES + 2 * _cells_bytes(rows) + signatures + own


def punctuation_bytes(sources: int, measurements: int) -> int:
    """Punctuation on `sealed`.

    Args:
        sources: source partitions of the worker that writes it. measurements: that it counts.
    """
    body = Punctuation(
        process=_PROCESS,
        j=1,
        clock_ms=NOW_MS,
        measurements_offset=100,
        sources=(SourceProgress(_DIGEST, 1, 1, NOW_MS, _SEQUENCE),) * sources,
        counting=(Counting(_DIGEST, _DIGEST, NOW_MS),) * measurements,
    )
    return _frame(2) + len(msgspec.msgpack.encode(body)) + _SIGNATURE_BYTES


def passed_punctuation_bytes(sources: int, measurements: int) -> int:
    """The same on `shares`, with what attach adds."""
    passage = len(msgspec.msgpack.encode(Passage(_PROCESS, NOW_MS, 100)))
    own = 1 + passage + _SIGNATURE_BYTES
    return punctuation_bytes(sources, measurements) + _frame(4) - _frame(2) + own


def release_bytes(measurement: Measurement, level: str) -> int:
    """A party's release of a window of one level, empty or not."""
    shapes = ChannelLayout.of(measurement).released(level)
    channels = tuple(ReleasedChannel(name, shape, 1.5, 1.5) for name, shape in shapes.items())  # type: ignore[arg-type]
    release = Release(
        party="a",
        measurement=measurement.id,
        revision=measurement.revision,
        spec=_DIGEST,
        level=level,
        start_ms=NOW_MS,
        end_ms=NOW_MS,
        status="released",
        reason="",
        coverage=_DIGEST,
        debit=_DIGEST,
        channels=channels,
    )
    return _frame(3) + len(msgspec.msgpack.encode(release)) + 8 * release.size + _SIGNATURE_BYTES


def released_values(measurement: Measurement, level: str) -> int:
    """Ring elements of a release: each has a draw of noise."""
    shapes = ChannelLayout.of(measurement).released(level)
    sizes = [shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes.values()]
    return sum(sizes)


_METRIC_BYTES = 2_700
_RESULT_BYTES = 270
_VALUE_BYTES = 20


def results(measurement: Measurement) -> int:
    """Results of a window: one a statistic, group and estimator; a pool of groups makes them fewer."""
    channels = measurement.channels
    estimators = 1 + ("moments" in channels) + ("rectifier" in channels)
    return estimators * len(measurement.group_names) * sum(1 for _ in layout_of(measurement).statistics())


def metric_bytes(measurement: Measurement, level: str) -> int:
    """A window on `fairness-metrics`, JSON: within a fifth, since it depends on what the numbers are."""
    return _METRIC_BYTES + _RESULT_BYTES * results(measurement) + _VALUE_BYTES * released_values(measurement, level)


# -- state ------------------------------------------------------------------------------------------------------------


def source_state_bytes(partitions: int, measurements: int) -> int:
    """The record of a source partition on `state-seal`.

    Args:
        partitions: P.
    """
    state = SourceState(
        offset=_OFFSET,
        arrival_ms=NOW_MS,
        next_sequence=[_SEQUENCE] * partitions,
        since_ms={f"{number:064x}": NOW_MS for number in range(measurements)},
        topic_id="A" * 22,
    )
    return _STATE_BYTES + len(msgspec.msgpack.encode(state))


def position_bytes(streams: int, measurements: int) -> int:
    """The record of a partition on `state-a` and `state-b`.

    Args:
        streams: how many (source, i) write to it; of each the last 64 digests of headers are kept.
    """
    stream = 1 + 34 + 2 + 5 + 3 + 34 * REMEMBERED + 9 + 9 + 1 + measurements * (34 + 9)
    return _STATE_BYTES + 1 + 5 + 3 + streams * stream


def attached_position_bytes(streams: int, measurements: int) -> int:
    """The same on `state-attach`, with what there must be of who has counted today, by measurement."""
    return position_bytes(streams, measurements) + 2 + measurements * 74


def window_state_bytes(measurement: Measurement, streams: int) -> int:
    """An open base window on `state-a` or `state-b`.

    Args:
        streams: (source, i, j) that have sent it rows.
    """
    layout = ChannelLayout.of(measurement)
    entry = 1 + 34 + 2 + 5 + 2 + 3 + 34
    return _STATE_BYTES + 17 + 8 * (layout.cells * layout.columns + layout.tail) + streams * entry


def rollup_state_bytes(measurement: Measurement) -> int:
    """An open roll-up window on `state-a` or `state-b`."""
    return window_state_bytes(measurement, 0) + 25


def pending_bytes(measurement: Measurement, level: str) -> int:
    """A release that is committed and waits to be sent, on `state-a` or `state-b`."""
    return _STATE_BYTES + 4 + release_bytes(measurement, level)
