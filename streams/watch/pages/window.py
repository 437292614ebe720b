"""One window: what it says, what it cost, what stands behind it, and whether its numbers follow from its own table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec

from estimator import Recomputation
from privacy import Measurement
from streams.passed import CORRECTION_WINDOWS
from streams.recomputation import Recomputer
from streams.report import page
from streams.report.numbers import moment, shown_epsilon
from streams.settled import NOT_APPROVED, Unknown
from streams.watch.pages import words
from streams.watch.pages.base import definitions, link, path_of, rich_table
from streams.watch.pages.measurement import why_not
from streams.watch.pages.recomputations import Recomputations
from streams.watch.pages.registry import Page, PageNotFound, Params
from streams.watch.pages.site import Snapshot
from streams.watch.shown_record import Checks, Privacy, ShownRecord
from streams.watch.window_history import ShownWindow, ShownWindows

_MOST_DIGITS = 15
_RECOMPUTATIONS = Recomputations()
AS_IT_LIES = "As it lies on fairness-metrics: whoever has it can work out everything above."
ANEW = (
    "Worked out anew from the window's two releases when publish started. The record that lies on fairness-metrics is "
    "another one, as an earlier build has written it, and stays as it was."
)


@dataclass(frozen=True)
class View:
    """A window, its record, its spec, and the windows that it goes on from, where they are kept, in their order."""

    window: ShownWindow
    record: ShownRecord
    raw: Mapping[str, Any]
    spec: Measurement | Unknown
    passed: tuple[ShownWindow, ...]
    earlier: ShownWindow | None
    later: ShownWindow | None


def view(snapshot: Snapshot, params: Params) -> View:
    """What is asked for, or PageNotFound."""
    windows = snapshot.of(ShownWindows) or ShownWindows()
    name, level, end = params["measurement"], params["level"], params["end_ms"]
    known = snapshot.measurements().get(name) is not None
    digits = end.isascii() and end.isdigit() and len(end) <= _MOST_DIGITS
    window = windows.find(name, level, int(end)) if known and digits else None
    if window is None:
        raise PageNotFound(
            "There is no such window here. Only the last windows of each level are kept; older ones are on the topic "
            "fairness-metrics for as long as that keeps them."
        )
    kept = windows.of(name, level)
    place = kept.index(window)
    approved = [entry.approved for entry in snapshot.measurements()[name]]
    spec = next((entry.measurement for entry in approved if entry.spec.hex() == window.spec), NOT_APPROVED)
    raw = msgspec.json.decode(window.value())
    return View(
        window=window,
        record=window.record(),
        raw=raw,
        spec=spec,
        passed=(*_correcting(windows, window, spec, raw), *_before(kept[:place], window)),
        earlier=kept[place - 1] if place else None,
        later=kept[place + 1] if place + 1 < len(kept) else None,
    )


def _before(kept: Sequence[ShownWindow], window: ShownWindow) -> list[ShownWindow]:
    """The last window of the level that says something, and those since, as far as none is missing."""
    found: list[ShownWindow] = []
    for earlier in reversed(kept):
        if earlier.spec != window.spec or earlier.end_ms != (found[0] if found else window).start_ms:
            break
        found.insert(0, earlier)
        if _says(earlier):
            break
    return found


def _correcting(
    windows: ShownWindows, window: ShownWindow, spec: Measurement | Unknown, raw: Mapping[str, Any]
) -> list[ShownWindow]:
    """Windows of the longest level back to the one that corrects this window, which is mostly the newest of them."""
    if isinstance(spec, Unknown) or "rectifier" not in spec.channels or window.level == spec.levels[-1].name:
        return []
    longest, by = spec.levels[-1], raw.get("corrected_by")
    least_ms = window.start_ms - CORRECTION_WINDOWS * longest.length_ms if by is None else by["end_ms"]
    kept = windows.of(window.measurement, longest.name)
    return [one for one in kept if one.spec == window.spec and least_ms <= one.end_ms <= window.start_ms]


def _says(window: ShownWindow) -> bool:
    return window.status in ("published", "suppressed")


def recomputed(found: View) -> Recomputation | None:
    """The window's numbers, worked out again from its table and held against its spec; None where there are none."""
    if not _says(found.window):
        return None
    spec = found.spec.expected if isinstance(found.spec, Unknown) else found.spec.digest().hex()
    passed = [window.packed for window in found.passed]
    return _RECOMPUTATIONS.once(lambda: _recomputed(found), found.raw, spec, passed)


def _recomputed(found: View) -> Recomputation:
    recomputer = Recomputer(specs=lambda record: found.spec)
    for window in found.passed:
        recomputer.keep(msgspec.json.decode(window.value()))
    return recomputer.take(found.raw)


# -- HTML -------------------------------------------------------------------------------------------------------------


def render(snapshot: Snapshot, params: Params) -> Iterator[str]:
    """The page."""
    found = view(snapshot, params)
    record = found.record
    yield f"<p>{link(path_of('measurements', record.measurement, query={'level': record.level}), 'All windows')}</p>"
    yield f'<p class="lead">{escape(words.headline(record))}</p>'
    yield definitions(
        (name, escape(text))
        for name, text in (
            ("Status", words.STATUS[record.status][0]),
            *((("Reason", words.reason(record.reason)),) if record.reason else ()),
            ("From", moment(record.window.start_ms)),
            ("To", moment(record.window.end_ms)),
            ("Revision", str(record.revision)),
            ("Spec", record.spec_sha256),
        )
    )
    yield from _neighbours(found)
    if record.results:
        yield page.heading("What it says")
        yield _results(record)
        yield from why_not(record)
    yield page.heading("What it cost in privacy")
    yield from _cost(record.privacy)
    yield page.heading("What stands behind it")
    yield from _checks(record)
    yield page.heading("Worked out again")
    yield from _again(found)
    yield page.heading("The whole record")
    yield page.paragraph(ANEW if found.window.anew else AS_IT_LIES, "notice" if found.window.anew else None)
    text = msgspec.json.format(msgspec.json.encode(found.raw), indent=1).decode()
    yield f'<details id="record"><summary>Show the record</summary><pre tabindex="0">{escape(text)}</pre></details>'


def _neighbours(found: View) -> Iterator[str]:
    links = [
        link(path_of("measurements", other.measurement, other.level, other.end_ms), text)
        for other, text in ((found.earlier, "The window before"), (found.later, "The window after"))
        if other is not None
    ]
    if links:
        yield f"<p>{' | '.join(links)}</p>"


def _results(record: ShownRecord) -> str:
    return rich_table(
        ("Metric", "Group", "Estimator", "Value", "Gap", "Ratio", "Log evidence", "Not shown because"),
        (
            (
                escape(words.metric(r.metric, r.score_bin)),
                escape(words.capital(words.group(r.group))),
                escape(r.estimator),
                escape(words.interval(r.value)),
                escape(words.interval(r.gap, gap=True)),
                escape(words.quotient(r.ratio)),
                "" if r.log_evidence is None else f"{r.log_evidence:.2f}{' (alarm)' if r.alarm else ''}",
                escape(words.briefly_unknown(r.suppressed)),
            )
            for r in record.results
        ),
        f"All results; gaps and ratios are to {words.members(record.reference)}, intervals at "
        f"{100 * record.confidence:g} %",
    )


def _cost(privacy: Privacy | None) -> Iterator[str]:
    if privacy is None:
        yield page.paragraph(
            "The withdrawal itself releases nothing. What was released of this window before stays paid for: the "
            "budgets and the parties' ledgers tell how much."
        )
        return
    shown, limit = shown_epsilon(privacy.epsilon_spent), shown_epsilon(privacy.epsilon_limit)
    yield page.paragraph(
        f"All windows of this measurement together cost {privacy.unit} at most epsilon {shown} at delta "
        f"{privacy.delta:g}, if the member's group probabilities and Self-ID were replaced by any others; all "
        f"measurements together may cost epsilon {limit}. This one window costs nothing more than that."
    )
    if privacy.epsilon_spent is None:
        yield page.paragraph("This is test noise, and protects nobody.", "notice")
    yield definitions(
        (name, escape(text))
        for name, text in (
            ("Rho of a member-day (zCDP)", f"{privacy.rho:.4g} of {privacy.rho_limit:.4g}"),
            ("Epsilon, if a member's day were added or removed", shown_epsilon(privacy.epsilon_add_remove)),
            (
                "Noise in one entry of the table, standard deviation",
                "not known" if privacy.noise_sigma_rows is None else f"{privacy.noise_sigma_rows:.1f} rows",
            ),
        )
    )


def _checks(record: ShownRecord) -> Iterator[str]:
    checks = record.checks
    if checks is None:
        yield page.paragraph(
            "A withdrawal is said by reviewers' signatures on the measurement itself. What stood behind the window "
            "before, debits among it, is in the parties' ledgers."
        )
        return
    yield page.paragraph(_agreement(checks), "notice" if checks.estimators == "disagree" else None)
    if record.corrected_by is not None:
        by = record.corrected_by
        text = f"the window of {by.level} to {moment(by.end_ms)}"
        address = path_of("measurements", record.measurement, by.level, by.end_ms)
        yield f"<p>Its rectified results are corrected by {link(address, text)}.</p>"
    yield definitions(
        (name, f"<code>{escape(text or 'none: nothing was released')}</code>")
        for name, text in (
            ("Signature of party a over its release", checks.release_signature_a),
            ("Signature of party b over its release", checks.release_signature_b),
            ("Debit in the ledger of party a", checks.debit_a),
            ("Debit in the ledger of party b", checks.debit_b),
        )
    )


def _agreement(checks: Checks) -> str:
    if checks.estimators is None:
        return "Two estimators are not both there, so whether they agree was not checked."
    found = checks.difference
    where = "" if found is None else (
        f" The largest difference is in {words.metric(found.metric, found.score_bin).lower()} of "
        f"{words.members(found.group)}: {abs(found.deviations):.1f} standard deviations, where up to "
        f"{found.limit:.1f} may be chance."
    )  # fmt: skip
    if checks.estimators == "agree":
        return "The corrected and the rectified estimates agree, within their errors." + where
    return "The corrected and the rectified estimates disagree by more than chance allows: rely on rectified." + where


def _again(found: View) -> Iterator[str]:
    again = recomputed(found)
    if again is None:
        yield page.paragraph("There is no table to work anything out from.")
        return
    if again.equal:
        yield page.paragraph(
            f"All {again.compared:,} numbers that were compared follow from the record's own noised table, to the last "
            "bit, or from its signed spec. That spends no privacy.",
            "promise",
        )
    else:
        yield page.paragraph(
            f"{len(again.discrepancies):,} of {again.compared:,} numbers do not follow from the record's own table "
            "and its signed spec.",
            "notice",
        )
        yield rich_table(
            ("Where", "Published", "Worked out again"),
            (
                (escape(d.where), escape(repr(d.published)), escape(repr(d.recomputed)))
                for d in again.discrepancies[:50]
            ),
            "What differs",
        )
    if again.unchecked:
        items = "".join(f"<li>{escape(text)}</li>" for text in again.unchecked)
        yield f"<p>Not worked out here:</p><ul>{items}</ul>"
    record = found.record
    command = (
        f"evenstream recompute --measurement {record.measurement} --level {record.level} "
        f"--window {moment(record.window.end_ms)}"
    )
    yield f"<p>To do the same yourself: <code>{escape(command)}</code></p>"


# -- JSON -------------------------------------------------------------------------------------------------------------


def data(snapshot: Snapshot, params: Params) -> object:
    """The record as it is, and what became of working it out again."""
    found = view(snapshot, params)
    again = recomputed(found)
    return {
        "says": words.headline(found.record),
        "recomputed": None
        if again is None
        else {
            "compared": again.compared,
            "equal": again.equal,
            "discrepancies": _strings(again.discrepancies),
            "unchecked": list(again.unchecked),
        },
        "anew": found.window.anew,
        "record": msgspec.Raw(found.window.value()),
    }


def _strings(found: Sequence[object]) -> list[str]:
    return list(map(str, found))


def _title(snapshot: Snapshot, params: Params) -> str:
    end = params["end_ms"]
    when = moment(int(end)) if end.isascii() and end.isdigit() and len(end) <= _MOST_DIGITS - 1 else end
    return f"{params['measurement']}, {params['level']} to {when}"


PAGES = (Page("/measurements/{measurement}/{level}/{end_ms}", _title, render, data, query=frozenset(), costly=True),)
