"""What each measurement is: state, purpose, owner, end, levels and cost, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

from privacy.decisions import Forecast
from privacy.limits import PERIOD_NAMES
from streams.control import FOREVER_MS, Approved
from streams.report import page
from streams.report.numbers import moment, shown_epsilon
from streams.watch.pages.site import Shown


def state(approved: Approved, now_ms: int) -> str:
    """Whether a revision is counted now, in words."""
    counts = "is counted now"
    if approved.measurement.source.arrival == "record_time":
        counts = "counts a replayed log, by the log's own times"
    return {
        "scheduled": f"scheduled: it begins {moment(approved.from_ms)}",
        "active": f"active: it {counts}",
        "expired": "expired",
        "superseded": "replaced by a later revision",
        "revoked": f"revoked: reviewers stopped it on {moment(approved.revoked_at_ms or 0)}",
    }[approved.state(now_ms)]


def in_view(shown: Sequence[Shown], now_ms: int) -> list[Shown]:
    """Of each measurement the revisions that are not over, else its last one; by name and revision."""
    by_name: dict[str, list[Shown]] = {}
    for entry in sorted(shown, key=lambda entry: (entry.approved.measurement.id, entry.approved.measurement.revision)):
        by_name.setdefault(entry.approved.measurement.id, []).append(entry)
    return [
        entry
        for entries in by_name.values()
        for entry in ([e for e in entries if _goes_on(e.approved, now_ms)] or entries[-1:])
    ]


def _goes_on(approved: Approved, now_ms: int) -> bool:
    return now_ms < approved.until_ms or approved.state(now_ms) == "active"


def described(shown: Shown, now_ms: int) -> dict[str, object]:
    """A revision's terms as JSON."""
    approved, spec = shown.approved, shown.approved.measurement
    cost = Forecast.of(spec)
    epsilons = (cost.epsilon_member_day, cost.epsilon_30_days, cost.epsilon_year)
    return {
        "measurement": spec.id,
        "revision": spec.revision,
        "spec_sha256": approved.spec.hex(),
        "state": approved.state(now_ms),
        "purpose": spec.purpose,
        "owner": None if spec.review is None else spec.review.owner,
        "from_ms": approved.from_ms,
        "expires_ms": spec.expires_ms,
        "revoked_at_ms": approved.revoked_at_ms,
        "groups": list(spec.group_names),
        "reference": spec.reference,
        "levels": [{"level": level.name, "length_ms": level.length_ms} for level in spec.levels],
        "privacy": {
            "relation": "replace",
            "delta": cost.delta,
            "epsilon": dict(zip(PERIOD_NAMES, epsilons, strict=True)),
            "epsilon_add_remove": shown.statement.epsilon_add_remove,
            "unit": shown.statement.unit,
        },
    }


def terms(shown: Shown, now_ms: int) -> Iterator[str]:
    """A revision's terms as HTML."""
    spec = shown.approved.measurement
    yield f'<section aria-labelledby="{spec.id}-{spec.revision}">'
    yield f'<h3 id="{spec.id}-{spec.revision}">{escape(spec.id)}, revision {spec.revision}</h3>'
    expires = spec.expires_ms
    facts = (
        ("State", state(shown.approved, now_ms)),
        ("Purpose", spec.purpose),
        ("Owner", "the terms do not say" if spec.review is None else spec.review.owner),
        ("Begins", moment(shown.approved.from_ms)),
        ("Ends", "no end is set" if expires is None or expires >= FOREVER_MS else moment(expires)),
        ("Groups", f"{', '.join(spec.group_names)}; each is compared with {spec.reference}"),
        ("Levels", f"one result for every {', '.join(level.name for level in spec.levels)}"),
    )
    yield "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts) + "</dl>"
    yield from _cost(shown)
    yield f'<p><a href="/concerns?measurement={quote(spec.id)}">Raise a concern about {escape(spec.id)}</a></p>'
    yield "</section>"


def _cost(shown: Shown) -> Iterator[str]:
    cost, promise = Forecast.of(shown.approved.measurement), shown.statement
    epsilons = (cost.epsilon_member_day, cost.epsilon_30_days, cost.epsilon_year)
    rows = [(name, _epsilon(value)) for name, value in zip(PERIOD_NAMES.values(), epsilons, strict=True)]
    yield page.table(("Period", "Epsilon, at most"), rows, f"What it costs a member, at delta {cost.delta:g}")
    yield page.paragraph(
        "Epsilon and delta say how much of what is published may change if the member's group probabilities and "
        f"Self-ID were replaced by any others; smaller is better. If {promise.unit} were added or removed, epsilon "
        f"would be {_epsilon(promise.epsilon_add_remove)}, at the same delta."
    )


def _epsilon(value: float | None) -> str:
    return shown_epsilon(value) + (": this is test noise and protects nobody" if value is None else "")
