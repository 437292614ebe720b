"""For members: what is measured about them, in plain words, what is never done, and how to take no part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from streams.report import page
from streams.report.numbers import shown_epsilon
from streams.watch.pages.approvals import terms_path
from streams.watch.pages.base import definitions, link, path_of
from streams.watch.pages.costs import cost_of
from streams.watch.pages.glossary import term
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Shown, Snapshot
from streams.watch.pages.terms import in_view

DONE = (
    "What you were shown, how it was scored and what came of it are turned into a few broad classes, such as: high "
    "score, shown, good outcome.",
    "From your family name and where you live, and from your given name if it is known, a program works out how likely "
    "each group is for you. The estimate exists for a moment; that program sees neither scores nor outcomes.",
    "The estimate is split into two random-looking halves for two separate services. Only sums over many people leave "
    "them, each with random noise added.",
    "If you told the company which groups you belong to, that is used only where the signed terms below say so, split "
    "and blurred in the same way.",
)
NEVER = (
    "Nobody is assigned a race or a group.",
    "No list says who was measured, and nothing that is published is about one person.",
    "No service ever holds your name, your probabilities and your scores together.",
    "No result and no alarm changes what you are shown by itself: people decide what follows. Nor does it matter "
    "whether you take part.",
    "These pages remember nobody who looks at them: no cookie, no account, and no address is kept here.",
)
OPT_OUT = (
    "You may take no part, at any time and without a reason: ask the company whose recommendations you get. It marks "
    "your record, and from the next batch on nothing of you counts, also not what you said of yourself. No one outside "
    "the one program that reads the mark can tell. What was published before stays; nothing in it is about you alone.",
    "You lose nothing by it.",
)


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The page."""
    shown = _going_on(snapshot)
    yield page.paragraph(
        "Here it is checked whether people of every group are shown equally good things, and whether predictions about "
        "them are right equally often. Your group was never asked for, so it is only ever estimated.",
        "lead",
    )
    yield page.heading("What is done")
    yield _list(DONE)
    yield page.heading("What is never done")
    yield _list(NEVER)
    yield page.heading("Take no part")
    yield from (page.paragraph(text, "promise" if not number else None) for number, text in enumerate(OPT_OUT))
    yield (
        f"<p>If something worries you, {link('/concerns', 'raise a concern')}, without a name. Any one "
        f"{term('reviewer')} can stop a measurement at once.</p>"
    )
    yield page.heading("What is measured now")
    if not shown:
        yield page.paragraph("Nothing: no measurement is approved and not over.")
    for entry in shown:
        yield from _measurement(entry)
    yield (
        f"<p>What all of it costs you is on {link('/budgets', 'Budgets')}, who agreed to it on "
        f"{link('/approvals', 'Approvals')}, and what words mean in the {link('/glossary', 'Glossary')}.</p>"
    )


def _going_on(snapshot: Snapshot) -> list[Shown]:
    """The revisions that count now, or will."""
    found = in_view(snapshot.shown, snapshot.now_ms)
    return [entry for entry in found if entry.approved.state(snapshot.now_ms) in ("scheduled", "active")]


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _measurement(shown: Shown) -> Iterator[str]:
    spec = shown.approved.measurement
    yield page.heading(f"{spec.id}, revision {spec.revision}", 3)
    if spec.test_only is not None:
        yield page.paragraph("It is marked test_only: its noise protects nobody.", "notice")
    yield definitions((name, escape(text)) for name, text in _facts(shown))
    concern = path_of("concerns", query={"measurement": spec.id})
    yield f"<p>{link(terms_path(spec), f'The terms of {spec.id}')}. {link(concern, f'A concern about {spec.id}')}.</p>"


def _facts(shown: Shown) -> Iterator[tuple[str, str]]:
    spec = shown.approved.measurement
    terms, cost = spec.privacy, cost_of(shown)
    yield "Why", spec.purpose
    yield "Which data it uses", "the terms do not say" if spec.review is None else spec.review.data_used
    self_id = "rectifier" in spec.channels
    yield "What you said of your groups", "is used, if you said something" if self_id else "is not used"
    yield "Your events", f"at most {terms.contribution_cap} a UTC day count"
    every_day = terms.rotation is None
    days = f"on at most {terms.days_in_30} of any 30 and {terms.days_in_year} of any 365 days you count"
    yield "Your days", "every day counts" if every_day else days
    yield (
        "What a year costs you, at most",
        "no promise: its noise protects nobody"
        if cost.epsilon_year is None
        else f"epsilon {shown_epsilon(cost.epsilon_year)} over any 365 days, had your group probabilities and Self-ID "
        f"been replaced by any others, at delta {cost.delta:g}",
    )


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    return {
        "done": list(DONE),
        "never": list(NEVER),
        "opt_out": list(OPT_OUT),
        "measurements": [
            {
                "measurement": entry.approved.measurement.id,
                "revision": entry.approved.measurement.revision,
                "facts": [{"question": name, "answer": text} for name, text in _facts(entry)],
            }
            for entry in _going_on(snapshot)
        ],
    }


PAGES = (Page("/members", "What is measured about you", render, data, nav="For members"),)
