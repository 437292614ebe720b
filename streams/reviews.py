"""Reviews of alarms, as a command has them at one moment: read from `fairness-metrics` and `decisions`, and signed."""

from __future__ import annotations

from difflib import get_close_matches

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.dispositions import Disposition
from streams.errors import InputError
from streams.governance import Governance, View
from streams.kafka.clients import read_to_end
from streams.published_windows import PublishedWindows
from streams.report.numbers import moment
from streams.review_book import Review, ReviewBook
from streams.settings import Settings

_NEAR = 3


class Reviews:
    """A command's hands on the topics, at one moment.

    Args:
        settings: of the deployment.
        view: what `decisions` and `measurements` hold; read by default.

    Raises:
        KafkaUnavailable: they cannot be read.
    """

    def __init__(self, settings: Settings, view: View | None = None) -> None:
        self._governance = Governance(settings)
        view = self._governance.view() if view is None else view
        self._book = book = ReviewBook()
        topic = settings.topic("fairness-metrics")
        signed = PublishedWindows(self._governance.trusted.identities)
        for record in signed.records(read_to_end(settings, topic)):
            book.read(record)
        self.passed_over = signed.told(topic)
        """What was found on the topic that publish has not signed, in words; None where nothing was."""
        self.all = book.reviews(view.log.dispositions, view.control.approved())
        """Every review, open ones first."""

    def find(self, alarm: str) -> Review:
        """The review of an alarm, or :class:`InputError`, which names the nearest ones."""
        return _find(self.all, alarm)

    def decide(self, disposition: Disposition, key: Ed25519PrivateKey, now_ms: int, seen: int | None = None) -> None:
        """Sign what was decided about an alarm that is there.

        Args:
            seen: the sequence of the last disposition of the alarm that the reviewer has seen; None where there was
                none.

        Raises:
            InputError: there is no such alarm, nothing is to be decided about it any more, or another was at it.
            EvenstreamError, PrivacyError: it could not be written, or would have no effect, and why.
        """

        def check(view: View) -> None:
            """By what stands when it is written, not by what the command began with."""
            review = _find(self._book.reviews(view.log.dispositions, view.control.approved()), disposition.alarm)
            if review.over is not None:
                raise InputError(f"nothing is to be decided about {review.alarm.id}: {review.over}")
            if now_ms < review.alarm.since_ms:
                raise InputError(
                    f"this machine's clock is before the alarm, which began at {moment(review.alarm.since_ms)}: what "
                    "it signs would decide nothing. Set the clock"
                )

        self.find(disposition.alarm)
        self._governance.decide(disposition, key, now_ms, seen=seen, check=check)


def _find(reviews: list[Review], alarm: str) -> Review:
    known = {review.alarm.id: review for review in reviews}
    if alarm in known:
        return known[alarm]
    near = get_close_matches(alarm, known, _NEAR, 0.3) or list(known)[:_NEAR]
    there = f"the nearest: {', '.join(near)}" if near else "no alarm has begun so far"
    raise InputError(f"there is no alarm {alarm!r}; {there}. `evenstream review list` names all")
