"""Concerns: what people said about measurements, and what reviewers did with it.

Anyone may raise one, on the page at publish or by command, and nobody is remembered for it. Reviewers answer and close
them by signed records on `decisions`; nothing on `concerns` itself can close one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from privacy.decisions import HandledConcern
from streams.concern_book import ConcernBook
from streams.errors import InputError
from streams.governance import Governance, View
from streams.kafka.clients import read_to_end
from streams.kafka.concern_topic import ConcernWriter
from streams.records.concern import Concern, new_concern
from streams.settings import Settings

_NOT_HANDLED = HandledConcern()


@dataclass(frozen=True)
class HeldConcern:
    """A concern with what reviewers did with it."""

    concern: Concern
    handled: HandledConcern

    @property
    def is_open(self) -> bool:
        """Whether no reviewer has closed it."""
        return self.handled.closed is None


class Concerns:
    """A command's hands on the topic, at one moment.

    Args:
        settings: of the deployment.
        view: what `decisions` and `measurements` hold; read by default.
    """

    def __init__(self, settings: Settings, view: View | None = None) -> None:
        self._settings = settings
        self._governance = Governance(settings)
        self._view = self._governance.view() if view is None else view
        self.measurements = sorted({entry.measurement.id for entry in self._view.control.approved()})

    def _read(self) -> ConcernBook:
        book = ConcernBook(self.measurements)
        for record in read_to_end(self._settings, self._settings.topic("concerns")):
            book.apply(record.key(), record.value())
        return book

    def require_measurement(self, name: str) -> None:
        """Raise :class:`InputError` where no measurement of this name was ever approved."""
        if name not in self.measurements:
            known = ", ".join(self.measurements) or "none yet"
            raise InputError(f"there is no approved measurement {name!r}; approved: {known}")

    def put(self, measurement: str, text: str, now_ms: int) -> Concern:
        """Raise a concern; returns it when it is durable.

        Raises:
            InputError: there is no such measurement, or the text is none.
            KafkaUnavailable: it could not be written.
        """
        self.require_measurement(measurement)
        concern = new_concern(measurement, text, "command", now_ms)
        ConcernWriter(self._settings).write(concern)
        return concern

    def listed(self, measurement: str | None = None, *, closed: bool = False) -> tuple[list[HeldConcern], Counter[str]]:
        """Concerns, oldest first, and how many records are not among them, by reason.

        Args:
            measurement: only of this one.
            closed: also those that are closed.
        """
        if measurement is not None:
            self.require_measurement(measurement)
        book = self._read()
        held = [HeldConcern(c, self._view.log.concerns.get(c.id, _NOT_HANDLED)) for c in book.all()]
        left_out = +(book.left_out + Counter(unknown_measurement=book.waiting))
        return [h for h in held if measurement in (None, h.concern.measurement) and (closed or h.is_open)], left_out

    def find(self, concern_id: str) -> HeldConcern:
        """The open concern of this id, or :class:`InputError`."""
        held, _ = self.listed(closed=True)
        found = next((h for h in held if h.concern.id == concern_id), None)
        if found is None:
            raise InputError(f"there is no concern {concern_id!r} on the topic; `evenstream concern list` names them")
        if not found.is_open:
            raise InputError(f"concern {concern_id} is already closed; `evenstream concern list --all` says how")
        return found

    def counts(self) -> dict[str, int]:
        """How many are open, for every approved measurement."""
        log = self._view.log
        return self._read().open({name for name, handled in log.concerns.items() if handled.closed is not None})


def open_concerns(settings: Settings, view: View | None = None) -> dict[str, int]:
    """How many concerns are open, for every approved measurement.

    Args:
        view: what `decisions` and `measurements` hold; read by default.
    """
    return Concerns(settings, view).counts()
