"""Check: does each role move on in every partition that it reads?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from streams.doctor.findings import Finding, WindowName
from streams.doctor.look import INPUTS, Look
from streams.doctor.plight import of_role
from streams.doctor.standing import Standing, standings

CHECK = "partitions"


def check(before: Look, now: Look) -> Iterator[Finding]:
    """One finding for each role and topic in which partitions stand still."""
    still = False
    for role in ("seal", *INPUTS):
        by_topic: dict[str, dict[int, Standing]] = defaultdict(dict)
        for (topic, i), standing in standings(before, now, role).items():
            if standing.stands:
                by_topic[topic][i] = standing
        for topic, stands in by_topic.items():
            still = True
            plight = of_role(now, role, stands)
            since = min((s.since_ms for s in stands.values() if s.since_ms is not None), default=None)
            passed = min((s.passed_ms for s in stands.values() if s.passed_ms is not None), default=since)
            yield Finding(
                CHECK,
                "wrong",
                f"{role} does not move on there: {plight.says}",
                plight.do,
                role,
                topic,
                tuple(sorted(stands)),
                None if passed is None else next_window(now, passed, topic if role == "seal" else None),
                since,
            )
    if not still and now.kafka is not None:
        yield Finding(CHECK, "ok", "no partition stands still with something unread")


def next_window(look: Look, passed_ms: int, topic: str | None) -> WindowName | None:
    """The first window that cannot close while nothing passes this arrival time.

    Args:
        topic: of measurements that read it; None: of any.
    """
    waiting = []
    for entry in look.live():
        measurement = entry.measurement
        if topic is not None and measurement.source.topic != topic:
            continue
        level = measurement.levels[0]
        first = max(passed_ms - measurement.lateness_ms, entry.from_ms)
        end_ms = (first // level.length_ms + 1) * level.length_ms
        if entry.covers(end_ms - level.length_ms):
            waiting.append(WindowName(measurement.id, level.name, end_ms))
    return min(waiting, key=lambda window: window.end_ms, default=None)
