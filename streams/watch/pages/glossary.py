"""The words of the pages, each with an anchor that other pages link to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from streams.report import page
from streams.watch.pages.base import link
from streams.watch.pages.registry import Page, Params
from streams.watch.pages.site import Snapshot

TERMS = {
    "alarm": "The evidence that a group is treated worse, or better, than the terms tolerate has passed its threshold. "
    "It is evidence, not proof, and says nothing about why.",
    "approval": "A reviewer's signature over a measurement's exact terms. A measurement counts once enough reviewers "
    "have signed.",
    "budget": "How much all measurements together may spend of one member's privacy, over a day, 30 days and a year. "
    "What does not fit is refused.",
    "cell": "One combination of a measurement's features, such as: high score, recommended, good outcome.",
    "concern": "What anyone says, without a name, about a measurement that worries them.",
    "corrected": "An estimate that takes into account how often group probabilities confuse groups. It is right where "
    "what is measured does not depend on name and place once the group is known.",
    "delta": "How likely it is at most that the promise of epsilon does not hold. It is far smaller than one in the "
    "number of members.",
    "disposition": "What a reviewer signs about an alarm: its cause, what is to be done, and what follows. All are "
    "kept; the last one stands.",
    "epsilon": "How much what is published may change with one member's data, at most: smaller is better. Below 1 it "
    "is little, above 10 it promises little. It is only meant with its relation, its delta and its period.",
    "estimator": "A way to work out a group's rate from sums of group probabilities. Several are shown side by side, "
    "since each rests on another assumption.",
    "evidence": "How strongly the windows so far speak for a gap beyond what is tolerated. It grows while the gap "
    "goes on, and is compared with its threshold.",
    "false alarm": "An alarm without a gap. The terms say how rare these are on average; they are never impossible.",
    "fpr": "False positive rate: of what would not turn out well, how much is recommended.",
    "gap": "A group's rate less the reference group's. 0 is equal treatment.",
    "group": "People who are compared with others. Nobody is assigned to one: each member only has probabilities.",
    "group probabilities": "How likely each group is for a member, worked out from name and place for a moment, and "
    "never written down.",
    "interval": "Where the truth lies in 95 of 100 such cases. It holds the uncertainty of the estimate and of the "
    "noise. An interval of a gap that includes 0 shows no difference.",
    "level": "The length of a measurement's windows, such as 10s, 1h or 1d.",
    "measurement": "One comparison, with signed terms: which events, which groups, which windows, what it may spend.",
    "member": "A person whose recommendations are counted.",
    "member-day": "One member on one day in UTC: what one day's budget is spent on.",
    "noise": "Random numbers that each party adds to its sums, so that no single person shows in them.",
    "opt out": "To take no part. From the next batch on nothing of the member counts.",
    "party": "One of two separate services that each hold half of the sums, and add noise of their own. Neither half "
    "says anything alone.",
    "position exposure": "How high up in the list things are shown.",
    "precision": "Of what is recommended, how much turns out well.",
    "predictive parity": "Of predictions with about the same score, how many come true. Equal treatment means the "
    "same share in every group.",
    "ratio": "A group's rate divided by the reference group's. 1 is equal treatment.",
    "recommendation rate": "Of all events, how many are recommended.",
    "rectified": "An estimate that is put right by what some members said of themselves. It needs them to be like the "
    "others, and is less precise.",
    "reference group": "The group that others are compared with. The terms name it.",
    "relation": "What two worlds are compared in a promise: replacement (one member's group probabilities and Self-ID "
    "are replaced by any others) or add and remove (the member's day is there, or is not).",
    "review": "What an alarm opens: reviewers look at it and sign what they decided, by a deadline. Nothing changes a "
    "ranking automatically.",
    "reviewer": "A person with a key who approves, rejects and stops measurements, answers concerns and decides about "
    "alarms.",
    "revision": "A version of a measurement's terms. What is approved never changes; changed terms are a new revision.",
    "revocation": "A reviewer's signed word that stops a measurement for good. One is enough.",
    "rho": "What is spent in the unit in which spending adds up exactly (zCDP). Epsilon follows from it.",
    "score bin": "A range of the recommender's scores.",
    "self-id": "What a member said of their own groups. It is used only where the signed terms say so.",
    "suppressed": "Held back: too few people, or too uncertain, to say anything. It is not the same as no difference.",
    "threshold": "The evidence at which an alarm begins.",
    "tolerated gap": "A gap up to which no alarm is meant to begin. The terms name it.",
    "tpr": "True positive rate: of what would turn out well, how much is recommended.",
    "void": "A window that counts for nothing, since the two parties' halves do not fit together or must not be "
    "published. No number is shown for it, also no older one.",
    "weighted": "The simplest estimate: each event counts for each group with the member's probability of it. It "
    "tends to understate gaps.",
    "window": "A span of time whose events are counted together, and published once.",
    "withdrawn": "Taken back, since the measurement was revoked.",
}
"""By the word, which is lower case."""


def anchor(name: str) -> str:
    """Of a term; KeyError where there is no such term."""
    assert TERMS[name]
    return re.sub(r"[^a-z0-9]+", "-", name)


def term(name: str, shown: str | None = None) -> str:
    """A link to a term, as HTML; it reads as the word itself unless ``shown`` says otherwise."""
    return link(f"/glossary#{anchor(name)}", name if shown is None else shown)


def render(snapshot: Snapshot, params: Params) -> Iterable[str]:
    """The page."""
    yield page.paragraph("What the words on these pages mean.")
    entries = "".join(
        f'<dt id="{anchor(name)}">{escape(name)}</dt><dd>{escape(meaning)}</dd>'
        for name, meaning in sorted(TERMS.items())
    )
    yield f"<dl>{entries}</dl>"


def data(snapshot: Snapshot, params: Params) -> object:
    """The same as JSON."""
    return {"terms": [{"term": n, "anchor": anchor(n), "meaning": meaning} for n, meaning in sorted(TERMS.items())]}


PAGES = (Page("/glossary", "Glossary", render, data, nav="Glossary", live=False),)
