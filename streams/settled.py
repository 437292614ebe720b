"""What an approved spec settles in the records of `fairness-metrics`, and where the spec of a record comes from.

A spec is public and signed, and each record names it by its digest. With it at hand, nothing that it settles is taken
from the record itself: whose groups are compared and with whom, which windows there are, how many rows of a member are
in them, how much noise is on each channel, what that promises a member, and what detectors tolerate.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from estimator.comparison import Comparison
from estimator.recompute import TERMS
from privacy import ApprovalError, Measurement, SignedMeasurement, parse_measurement, plan_noise
from secure_agg import SCALE
from streams.cell_layout import layout_of
from streams.errors import InputError
from streams.roles.detecting import LevelDetectors

Record = Mapping[str, Any]

_CHANNELS = {"table": "", "moments": "_moments", "rectifier": "_rectifier"}
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Unknown:
    """Why there is no spec to hold a record against.

    Attributes:
        expected: what the record's digest would have to be, in words or hex, where it is known to be another; None
            where nobody can say.
    """

    expected: str | None = None


NOT_AT_HAND = Unknown()
NOT_APPROVED = Unknown("the digest of an approved spec")

Specs = Callable[[Record], Measurement | Unknown]
"""The spec that a record names."""


@dataclass(frozen=True)
class Settled:
    """What a spec settles in the records of one of its levels.

    Attributes:
        terms: of its detectors, as ``estimator.recompute.TERMS``.
        always: by a record's fields, of every record. numbers: of each that has a table.
        privacy: by their names in a record's ``privacy``.
        length_ms, first_ms, expires_ms: its windows; the start of the first one, and before what they start; None
            where the spec does not say.
        longest: name and length of the longest level, which has the rectifier if there is one. channels: of this level.
        rectified: whether there are `rectified` results.
    """

    terms: Mapping[str, Any]
    always: Mapping[str, Any]
    numbers: Mapping[str, Any]
    privacy: Mapping[str, Any]
    length_ms: int
    first_ms: int | None
    expires_ms: int | None
    longest: tuple[str, int]
    channels: frozenset[str]
    rectified: bool

    @classmethod
    def of(cls, spec: Measurement, level: str) -> Settled | None:
        """Of a level; None where the spec has no such one. Worked out once."""
        return _settled(spec.canonical_bytes(), level)

    def compare(self, record: Record, compared: Comparison) -> None:
        """Hold a record of any status against the spec."""
        for name, expected in self.always.items():
            compared.value(name, record[name], expected)
        self._compare_window(record["window"]["start_ms"], record["window"]["end_ms"], compared)
        if record["privacy"] is not None:
            for name, expected in self.privacy.items():
                compared.value(f"privacy.{name}", record["privacy"].get(name), expected)
        if record["status"] in ("published", "suppressed"):
            self._compare_numbers(record, compared)

    def _compare_window(self, start_ms: int, end_ms: int, compared: Comparison) -> None:
        compared.value("window: length, ms", end_ms - start_ms, self.length_ms)
        compared.holds(start_ms % self.length_ms == 0, "window.start_ms", start_ms, f"a multiple of {self.length_ms}")
        if self.first_ms is not None:
            compared.holds(start_ms >= self.first_ms, "window.start_ms", start_ms, f"{self.first_ms} or later")
        if self.expires_ms is not None:
            compared.holds(start_ms < self.expires_ms, "window.start_ms", start_ms, f"before {self.expires_ms}")

    def _compare_numbers(self, record: Record, compared: Comparison) -> None:
        compared.value("rows_per_member", record["rows_per_member"], self.numbers["rows_per_member"])
        parts = self.numbers["parts"]
        for name in _CHANNELS:
            part, expected = record[name], name in self.channels
            told = {True: "there", False: None}
            compared.value(name, told[part is not None], told[expected])
            if part is None or not expected:
                continue
            if name == "moments":
                compared.value("moments.groups", part["groups"], parts["groups"])
            else:
                compared.value(name, {field: part.get(field) for field in parts}, parts)
        if not self.rectified or "rectifier" not in self.channels:
            named = record.get("corrected_by")
            compared.holds(self.rectified or named is None, "corrected_by", named, None)
        there = any(result["estimator"] == "rectified" for result in record["results"])
        compared.value("results: rectified ones", there, self.rectified)


@lru_cache(maxsize=128)
def _settled(canonical: bytes, level: str) -> Settled | None:
    spec = Measurement.from_canonical(canonical)
    length_ms = {each.name: each.length_ms for each in spec.levels}.get(level)
    if length_ms is None:
        return None
    detectors, plan, layout = LevelDetectors.of(spec, level), plan_noise(spec), layout_of(spec)
    promise, noises = plan.statement(), plan.level(level).channels
    parts = {"axes": layout.axes, "exposure": layout.exposure, "groups": spec.group_names}
    begin_ms, longest = spec.effective_from_ms, spec.levels[-1]
    return Settled(
        terms={name: getattr(detectors, name) for name in TERMS},
        always={"measurement": spec.id, "revision": spec.revision, "reference": spec.reference},
        numbers={"rows_per_member": spec.rows_per_member(level), "parts": json.loads(json.dumps(parts))},
        privacy={
            "unit": promise.unit,
            "relation": promise.relation,
            "period": promise.period,
            "rho": promise.rho,
            "delta": promise.delta,
            "epsilon_spent": promise.epsilon,
            "epsilon_add_remove": promise.epsilon_add_remove,
            **{"noise_sigma_rows" + part: _sigma_rows(noises, name) for name, part in _CHANNELS.items()},
        },
        length_ms=length_ms,
        first_ms=None if begin_ms is None else -(-begin_ms // length_ms) * length_ms,
        expires_ms=spec.expires_ms,
        longest=(longest.name, longest.length_ms),
        channels=frozenset(noises),
        rectified="rectifier" in spec.channels,
    )


def _sigma_rows(noises: Mapping[str, Any], name: str) -> float | None:
    """Of both parties' noise together, to the bit as ``streams.roles.noised_window.sigma_rows`` has it."""
    noise = noises.get(name)
    return None if noise is None else math.hypot(noise.scale_units, noise.scale_units) / SCALE


# -- specs of files -----------------------------------------------------------------------------------------------


def given(specs: Sequence[Measurement]) -> Specs:
    """These specs, each by its digest. A record that says it is of the same revision of one of them must be of it."""
    by_digest = {spec.digest().hex(): spec for spec in specs}
    by_name = {(spec.id, spec.revision): digest for digest, spec in by_digest.items()}

    def spec_of(record: Record) -> Measurement | Unknown:
        found = by_digest.get(record["spec_sha256"])
        return found or Unknown(by_name.get((record["measurement"], record["revision"])))

    return spec_of


def specs_of_files(paths: Sequence[Path]) -> list[Measurement]:
    """Approved specs: each file holds a record of the topic `measurements`, or the spec itself, as it was signed.

    Raises:
        InputError: a file cannot be read, or holds no spec that was or could be approved.
        MeasurementError: as ``parse_measurement``.
    """
    return [spec for path in paths for spec in _specs_of_file(path)]


def _specs_of_file(path: Path) -> Iterator[Measurement]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    try:
        spec = Measurement.from_canonical(SignedMeasurement.decode(data).spec)
    except ApprovalError:
        spec = parse_measurement(text, origin=str(path))
    if spec.effective_from_ms is None:
        raise InputError(
            f"{path}: this spec does not say when it takes effect, so it is not what was signed, and no record is of "
            "it. Take the approved one: the value of its record on the topic measurements, or its field `spec`"
        )
    yield spec
