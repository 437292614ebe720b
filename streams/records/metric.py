"""The record of `fairness-metrics`: what subscribers read (docs/protocol.md).

JSON in CloudEvents 1.0 binary mode. A pure function of the two parties' releases, so that a rebuild is byte-identical:
no clock, no host, no random id is inside. Null where there is no answer, never infinity or NaN; a void window is a full
record, since in this mode an empty value would be a tombstone.

Strict to write, lenient to read: a record that is made here has no field that is not here, and one that is read may
have more, since a later version wrote it (docs/protocol.md; ``metric_schema`` gives the same to other readers).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from estimator import Agreement, CellLayout, Disparity, Estimate
from estimator.moments import Moments
from streams.errors import RecordMalformed
from streams.kafka.partitioner import partition_of
from streams.records.detection import Detection
from streams.records.public_part import PublicPart as _Part

Status = Literal["published", "void", "suppressed", "withdrawn"]

SCHEMA = "urn:evenstream:schema:fairness-metrics:1"
"""A name, not an address: nothing is fetched to read a record."""

VERSION = 1
"""Last part of the id of what is said of a window first, which for almost all is what is said of them at all."""

WITHDRAWN_VERSION = 2
"""Of a withdrawal, which takes the place of that; a reader that knows ids sees it is new."""


class Interval(_Part):
    """An estimate with its interval, ratios (no unit), at the record's confidence."""

    estimate: float
    lower: float
    upper: float


class Excess(_Part):
    """By how many standard deviations a rate lies above the reference's, or below, by more than is tolerated."""

    above: float
    below: float


class Result(_Part):
    """One statistic of one group by one estimator.

    Attributes:
        metric: the statistic's name. score_bin: the bin's number from 0, or "all".
        group: one of the measurement's groups; under `corrected` perhaps a pool, "native+multiple".
        estimator: `weighted`, `corrected` or `rectified`; more may come.
        value: the rate. gap: the rate less the reference's. ratio: the rate over the reference's.
        suppressed: why value is null, where it is; more reasons may come.
        excess: what the detector that watches it takes in of this window, whether or not the value is suppressed; null
            where none watches it, and where there is nothing to take in.
        log_evidence: natural logarithm of the evidence, gathered over windows, that the gap is not a tolerated one;
            null where no detector watches it (another estimator's, the reference's), or none has taken in a window yet.
        alarm: whether there is one: it begins at the threshold, and ends 3 below it; null likewise.
        alarm_since_ms: the end of the window with which the present alarm began, epoch milliseconds; null without one.
    """

    metric: str
    score_bin: str
    group: str
    estimator: str
    value: Interval | None
    gap: Interval | None
    ratio: Interval | None
    suppressed: str | None
    excess: Excess | None = None
    log_evidence: float | None = None
    alarm: bool | None = None
    alarm_since_ms: int | None = None


class Window(_Part):
    """Start and end, epoch milliseconds."""

    start_ms: int
    end_ms: int


class Privacy(_Part):
    """An epsilon is never shown without its relation, delta and period.

    Attributes:
        unit: whom it is promised to. relation: neighbouring relation of rho and epsilon. period: of the unit.
        rho: what the measurement spends of a member-day (zCDP). rho_limit: what all measurements together may spend.
        epsilon, epsilon_limit: the same as (epsilon, delta)-DP; in JSON ``epsilon_spent`` and ``epsilon_limit``.
        epsilon_add_remove: epsilon of the measurement on the relation "add or remove". Null where there is none
            that is finite: under test noise.
        noise_sigma_rows: standard deviation of one table entry's noise, both parties', rows.
        noise_sigma_rows_moments: the same of one entry of the moments' vector: of the counts and of M's diagonal; off
            the diagonal it is less by a factor of sqrt 2. noise_sigma_rows_rectifier: of one entry of the rectifier.
            Null where the window does not have the channel.
    """

    unit: str
    relation: Literal["replace"] = "replace"
    period: str
    rho: float
    rho_limit: float
    epsilon: float | None = Field(alias="epsilon_spent")
    epsilon_limit: float | None = None
    epsilon_add_remove: float | None
    delta: float
    noise_sigma_rows: float
    noise_sigma_rows_moments: float | None = None
    noise_sigma_rows_rectifier: float | None = None


class Table(_Part):
    """A noised table, or rectifier.

    Attributes:
        axes: name and size of each axis of the cells. groups: names of the columns.
        values: rows, values[cell][group], cells in C order over the axes.
        exposure: what a row in each rank bin is worth for position exposure; null where there is no rank.
    """

    axes: tuple[tuple[str, int], ...]
    exposure: tuple[float, ...] | None = None
    groups: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, layout: CellLayout, groups: tuple[str, ...], values: NDArray[np.float64]) -> Table:
        """From an array of shape (cells, groups), rows."""
        rows: list[list[float]] = values.tolist()
        return cls(axes=layout.axes, exposure=layout.exposure, groups=groups, values=tuple(map(tuple, rows)))


class NoisedMoments(_Part):
    """What is known of a window's probabilities without any feature, noised, rows.

    Attributes:
        groups: of ``products``, in both directions.
        products: M, the sum over rows of p p'; symmetric.
        rows: how many count. self_id_rows: how many of them are of members who said a group. residual_squares: by
            group, the sum over those of (R - p)^2. Both are noise around 0 where the measurement uses no Self-ID.
    """

    groups: tuple[str, ...]
    products: tuple[tuple[float, ...], ...]
    rows: float
    self_id_rows: float
    residual_squares: tuple[float, ...]

    @classmethod
    def of(cls, groups: tuple[str, ...], moments: Moments) -> NoisedMoments:
        """From an estimator's moments."""
        products: list[list[float]] = moments.products.tolist()
        squares: list[float] = moments.residual_squares.tolist()
        return cls(
            groups=groups,
            products=tuple(map(tuple, products)),
            rows=moments.rows,
            self_id_rows=moments.self_id_rows,
            residual_squares=tuple(squares),
        )

    def moments(self) -> Moments:
        """For an estimator."""
        return Moments(np.array(self.products), self.rows, self.self_id_rows, np.array(self.residual_squares))


class Difference(_Part):
    """The largest difference between the corrected and the rectified estimates of a window.

    Attributes:
        metric, score_bin, group: where it is.
        deviations: corrected less rectified, in standard deviations of the difference.
        limit: beyond it they disagree: chance passes it in 1 of 100 windows, whatever the number of comparisons.
        comparisons: how many statistics and groups were compared.
    """

    metric: str
    score_bin: str
    group: str
    deviations: float
    limit: float
    comparisons: int

    @classmethod
    def of(cls, agreement: Agreement) -> Difference:
        """From an estimator's check."""
        largest = agreement.largest
        return cls(
            metric=largest.metric,
            score_bin=largest.score_bin,
            group=largest.group,
            deviations=largest.deviations,
            limit=agreement.limit,
            comparisons=agreement.comparisons,
        )


class CorrectedBy(_Part):
    """The window whose rectifier corrects this one's rectified estimates: an earlier one of the longest level."""

    level: str
    end_ms: int


class Checks(_Part):
    """What stands behind the numbers.

    Attributes:
        estimators: whether corrected and rectified estimates agree within their errors; null where not both are there.
        difference: the largest between the two; null likewise.
        release_signature_a, release_signature_b: the two parties' signatures over their releases, hex.
        debit_a, debit_b: SHA-256 of the debits, in the two parties' ledgers, that pay for the releases, hex; null where
            a party released nothing.
    """

    estimators: Literal["agree", "disagree"] | None = None
    difference: Difference | None = None
    release_signature_a: str
    release_signature_b: str
    debit_a: str | None = None
    debit_b: str | None = None


class FairnessMetric(_Part):
    """One window of one level of one measurement.

    Attributes:
        measurement, revision: what is measured, as approved. spec_sha256: digest of the signed specification, hex.
        level: the window's length by its name, such as 10s.
        status: `published`; `void`, no number can be given; `suppressed`, there is a table, but no group says anything;
            `withdrawn`, what was said before does not hold. No other will come under this version.
        reason: why the status is not `published`; null exactly where it is. More reasons may come.
        reference: the group that others are compared with. confidence: of the intervals.
        results: by statistic, group and estimator; empty where void or withdrawn.
        table: noised sums of group probabilities by cell, from which all numbers follow; null where void or withdrawn.
        moments, rectifier: further noised parts, where the measurement has them.
        corrected_by: whose rectifier corrects the rectified results; null where there are none, or it is the window's.
        rows_per_member: at most so many rows of one member are in it, which its intervals allow for; null where void
            or withdrawn.
        privacy, checks: null where it is withdrawn: such a record rests on no release, and says no number.
        detection: what its level's detectors say after it; null where void or withdrawn, which leave all evidence as it
            was, and for a window that came after a later one.
        supersedes: id of the record under the same key whose place this one takes, whether or not that was ever
            written; null where it takes none's.

    Raises:
        ValidationError: an unknown field, an infinity or NaN, or a status that its contents contradict: a void or
            withdrawn window never carries a number, and a reason is given exactly where the status is not "published".
    """

    measurement: str
    revision: int
    spec_sha256: str
    level: str
    window: Window
    status: Status
    reason: str | None
    reference: str
    confidence: float
    results: tuple[Result, ...]
    table: Table | None
    moments: NoisedMoments | None
    rectifier: Table | None
    corrected_by: CorrectedBy | None = None
    rows_per_member: int | None = None
    privacy: Privacy | None
    checks: Checks | None
    detection: Detection | None = None
    supersedes: str | None = None

    @model_validator(mode="after")
    def _says_what_its_status_says(self) -> FairnessMetric:
        if self.window.end_ms <= self.window.start_ms:
            raise ValueError(f"the window ends at {self.window.end_ms}, not after its start {self.window.start_ms}")
        if (self.reason is None) != (self.status == "published"):
            raise ValueError(f"status {self.status!r} does not go with reason {self.reason!r}")
        channels = (self.table, self.moments, self.rectifier)
        silent = self.status in ("void", "withdrawn")
        if silent and (self.results or any(part is not None for part in (*channels, self.detection))):
            raise ValueError(f"a {self.status} window carries no results, table, moments, rectifier or detection")
        if not silent and self.table is None:
            raise ValueError(f"a {self.status} window carries its noised table")
        terms = (self.privacy, self.checks, self.corrected_by, self.rows_per_member)
        if self.status == "withdrawn" and any(term is not None for term in terms):
            raise ValueError("a withdrawn window carries no number: its privacy and checks are null")
        if self.status != "withdrawn" and (self.privacy is None or self.checks is None):
            raise ValueError(f"a {self.status} window says what it cost (privacy) and what stands behind it (checks)")
        if self.status == "suppressed" and any(result.value is not None for result in self.results):
            raise ValueError("a suppressed window carries no value")
        if self.supersedes is not None and self.supersedes not in map(self.event_id, range(1, self.version)):
            raise ValueError("a record supersedes an earlier version of its own window, and nothing else")
        return self

    @property
    def subject(self) -> str:
        """measurement/level."""
        return f"{self.measurement}/{self.level}"

    def topic_key(self) -> bytes:
        """The record's key: one record a window."""
        return f"{self.subject}/{self.window.end_ms}".encode()

    @property
    def version(self) -> int:
        """Of its id: a record takes the place of one with the same key and a lower version."""
        return WITHDRAWN_VERSION if self.status == "withdrawn" else VERSION

    def event_id(self, version: int | None = None) -> str:
        """Id of the window's record of a version, by default of this one: equal ids are equal records."""
        return f"{self.subject}/{self.window.end_ms}/{self.version if version is None else version}"

    def encode(self) -> bytes:
        """The record's value: compact JSON in the order of the fields, the same bytes each time."""
        return self.encoded

    @cached_property
    def encoded(self) -> bytes:
        """What :meth:`encode` gives: the page and the writer both ask for it."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def decode(cls, value: bytes) -> FairnessMetric:
        """Read a record's value, or raise :class:`RecordMalformed`.

        Fields that are not known are passed over: a later version of publish may write more, and means no less by the
        others.
        """
        try:
            return cls.model_validate_json(value, extra="ignore")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the record"
            raise RecordMalformed(f"fairness-metrics: {where}: {first['msg']}") from None

    def partition(self, partitions: int) -> int:
        """Where the record goes: by the measurement alone, so that its windows stay in order.

        The default partitioner hashes the key, which holds the window, and would scatter a measurement.
        """
        return int(partition_of(np.array([self.measurement.encode()]), partitions)[0])

    def headers(self, deployment: str) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0, Kafka binding, binary mode. The time is the window's end, so that a rebuild is identical."""
        end = datetime.fromtimestamp(self.window.end_ms / 1000, UTC)
        attributes = {
            "ce_specversion": "1.0",
            "ce_id": self.event_id(),
            "ce_source": f"/evenstream/{deployment}",
            "ce_type": f"dev.evenstream.window.{self.status}.v1",
            "ce_subject": self.subject,
            "ce_time": end.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "ce_dataschema": SCHEMA,
            "content-type": "application/json",
        }
        return [(name, value.encode()) for name, value in attributes.items()]


def result_of(disparity: Disparity, **gathered: Any) -> Result:
    """An estimator's result as it is published; ``gathered``: what its detector says, fields of a `Result`."""

    if disparity.value is None and disparity.gap is None and disparity.ratio is None and not gathered:
        return _silent(
            disparity.metric, disparity.score_bin, disparity.group, disparity.estimator, disparity.suppressed
        )

    def interval(estimate: Estimate | None) -> Interval | None:
        if estimate is None:
            return None
        return Interval(estimate=estimate.estimate, lower=estimate.lower, upper=estimate.upper)

    return Result(
        metric=disparity.metric,
        score_bin=disparity.score_bin,
        group=disparity.group,
        estimator=disparity.estimator,
        value=interval(disparity.value),
        gap=interval(disparity.gap),
        ratio=interval(disparity.ratio),
        suppressed=disparity.suppressed,
        **gathered,
    )


@lru_cache(maxsize=16_384)
def _silent(metric: str, score_bin: str, group: str, estimator: str, suppressed: str | None) -> Result:
    """A result without a number, which windows with little traffic have many of, one like the other."""
    return Result(
        metric=metric,
        score_bin=score_bin,
        group=group,
        estimator=estimator,
        value=None,
        gap=None,
        ratio=None,
        suppressed=suppressed,
    )
