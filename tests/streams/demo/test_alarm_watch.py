"""The demo's view of alerts: the condition is judged on the text of /metrics, as Prometheus would judge it."""

from __future__ import annotations

import threading

from streams.demo.alarm_watch import AlarmWatch, Firing, in_alarm
from streams.demo.verdict import judge_alarms

LABELS = 'measurement="feed",level="{level}",metric="{metric}",score_bin="all",group="{group}",reference="white"'


def series(evidence: float, alarm: int, group: str = "black") -> str:
    """One detector's lines."""
    labels = LABELS.format(level="10s", metric="recommendation_rate", group=group)
    return (
        f"evenstream_edetector_log_evidence{{{labels}}} {evidence}\nevenstream_edetector_alarm{{{labels}}} {alarm}.0\n"
    )


def metrics(*lines: str) -> str:
    """A page of /metrics with a threshold of 12."""
    return (
        "# TYPE evenstream_edetector_log_threshold gauge\n"
        'evenstream_edetector_log_threshold{measurement="feed",level="10s"} 12.0\n'
        "# TYPE evenstream_edetector_log_evidence gauge\n" + "".join(lines)
    )


def test_an_alarm_is_what_the_record_calls_one() -> None:
    """It stands below the threshold at which it began, and evidence as high without one is none."""
    text = metrics(series(9.5, 1), series(9.5, 0, "api"))
    assert [(labels["group"], labels["level"], *rest) for labels, *rest in in_alarm(text)] == [
        ("black", "10s", 9.5, 12.0)
    ]


def test_a_firing_begins_lasts_and_ends() -> None:
    """It is told once, ends when it is seen no more, and not because nobody answered."""
    pages = iter([metrics(series(*at)) if at else "" for at in ((3.0, 0), (13.0, 1), None, (10.0, 1), (1.0, 0))])
    firings: list[Firing] = []
    watch = AlarmWatch(lambda: next(pages), firings)
    for now in range(4):
        watch.look(now)
    assert [(f.since, f.log_evidence, f.until) for f in firings] == [(1, 13.0, None)]
    watch.look(4.0)
    assert [f.until for f in firings] == [4.0]
    assert firings[0].what == "feed 10s: recommendation_rate of black against white"


def test_it_looks_once_more_at_the_end() -> None:
    """What the last window has raised is seen."""
    firings: list[Firing] = []
    over = threading.Event()
    over.set()
    AlarmWatch(lambda: metrics(series(13.0, 1)), firings).run(over)
    assert len(firings) == 1


def firing(since: float, metric: str = "recommendation_rate", group: str = "black") -> Firing:
    """One that began at this time."""
    labels = {"measurement": "feed", "level": "10s", "metric": metric, "score_bin": "all", "group": group}
    return Firing({**labels, "reference": "white"}, since, 13.0, 12.0)


def test_the_verdict_on_alerts() -> None:
    """It must fire for what turned unfair, and for nothing before that."""
    assert judge_alarms([firing(120.0), firing(118.0, "tpr")], "feed", 100.0).holds
    assert "20 s after" in judge_alarms([firing(120.0)], "feed", 100.0).text
    assert not judge_alarms([], "feed", 100.0).holds
    assert not judge_alarms([firing(120.0, "tpr"), firing(120.0, group="api")], "feed", 100.0).holds
    early = judge_alarms([firing(99.0, group="api"), firing(120.0)], "feed", 100.0)
    assert not early.holds
    assert "while the recommender was fair" in early.text
    assert judge_alarms([firing(99.0), firing(120.0)], "another", 100.0).holds is False
