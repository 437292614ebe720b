"""The public page: what is measured of whom, why, by whose word, at what cost, and how to leave.

For members, in plain words. Every figure is one of `streams.transparency.Facts`; the words around them are about the
mechanism, and say where it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from privacy import PERIOD_DAYS, Measurement, PrivacyStatement, plan_noise
from streams.ledger_view import LedgerView, PeriodSpend
from streams.report import alarms
from streams.report.document import Block, Command, Document, Grid, Heading, Listing, Paragraph
from streams.report.numbers import moment, shown_epsilon
from streams.settings import Settings
from streams.transparency import ApprovalFacts, Facts, MeasurementFacts, Unread

_STATES = {
    "active": "active: it counts now",
    "scheduled": "approved, not begun",
    "expired": "expired: it counts no more",
    "superseded": "superseded: a later revision counts in its place",
    "revoked": "revoked: stopped by a reviewer",
}
_OUTCOMES = ("published", "void", "suppressed", "refused", "withdrawn")
_NOT_SAID = "not said in the signed specification"
_HOLDS = {
    "sealed": "encrypted batches of events, on their way to the estimator",
    "shares": "encrypted halves, on their way to the two parties",
    "releases-a": "noised sums of party a",
    "releases-b": "noised sums of party b",
    "fairness-metrics": "published results",
    "refused": "why an event was not counted, and where it lies; no contents",
    "measurements": "signed specifications, approvals and revocations",
    "decisions": "the log of reviewers' decisions",
    "concerns": "what people wrote of their worries, in their own words, with the measurement and the day; no names",
    "ledger-a": "what party a has spent",
    "ledger-b": "what party b has spent",
    "keys": "public keys of the roles' epochs, and encrypted data keys",
    "member-attributes": "the company's own profile data: names, places, what members said of themselves, opt-outs",
    "state-seal": "how far the recommender's side has read; encrypted",
    "state-attach": "which members have counted today, as keyed hashes; encrypted",
    "state-a": "sums of party a that are not yet complete; encrypted",
    "state-b": "sums of party b that are not yet complete; encrypted",
}
_HOUR_MS = 3_600_000


def document(facts: Facts) -> Document:
    """The page."""
    settings = facts.settings
    blocks: list[Block] = [
        Paragraph(
            f"This page says what the deployment {settings.deployment!r} measures of how its recommendations treat "
            "groups of people, who approved that, what it has cost the people who are measured, and how to leave. It "
            f"was made on {moment(facts.made_ms)} from the running system; what could not be read then is said to be "
            "missing."
        )
    ]
    if settings.test_cluster:
        text = (
            "This deployment is a test cluster (setting test_cluster): measurements marked test_only may run in it, "
            "whose noise protects nobody."
        )
        blocks.append(Paragraph(text, "notice"))
    blocks += _measured(facts)
    blocks += _alarms(facts)
    blocks += _spent(facts)
    blocks += _kept(facts)
    blocks += _leaving(facts)
    blocks += _reading(facts)
    blocks += _keys(facts)
    blocks += _sources(facts)
    return Document(f"What is measured by {settings.deployment}, and what it costs", tuple(blocks))


def _missing(what: str, fact: Unread) -> Paragraph:
    return Paragraph(f"{what} could not be read: {fact.why}", "notice")


# -- measurements -----------------------------------------------------------------------------------------------------


def _measured(facts: Facts) -> Iterator[Block]:
    yield Heading("What is measured")
    if isinstance(facts.measurements, Unread):
        yield _missing("The approved measurements", facts.measurements)
        return
    if not facts.measurements:
        yield Paragraph("Nothing: no measurement is approved.")
        return
    rows = tuple(
        (
            _title(fact.approved.measurement),
            _state(fact),
            moment(fact.approved.from_ms),
            _end(fact),
        )
        for fact in facts.measurements
    )
    yield Grid("Approved measurements", ("measurement", "state", "from", "until"), rows)
    if facts.refused_specs:
        yield Paragraph(f"{facts.refused_specs} other record(s) on the topic are not in order and have no effect.")
    for fact in facts.measurements:
        yield from _measurement(fact, facts)


def _state(fact: MeasurementFacts) -> str:
    if fact.state == "active" and fact.approved.measurement.source.arrival == "record_time":
        return "active: it counts a replayed log, by the log's own times"
    return _STATES[fact.state]


def _title(measurement: Measurement) -> str:
    return f"{measurement.id}, revision {measurement.revision}"


def _end(fact: MeasurementFacts) -> str:
    approved = fact.approved
    if fact.revocation is not None:
        return f"{moment(fact.revocation.at_ms)} (revoked)"
    expires = approved.measurement.expires_ms
    if expires is None or approved.until_ms < expires:
        # Without an end of its own it is as long as any time may be; else a later revision takes over.
        return "no end is set" if expires is None and approved.until_ms >= 1 << 53 else moment(approved.until_ms)
    return moment(expires)


def _measurement(fact: MeasurementFacts, facts: Facts) -> Iterator[Block]:
    measurement = fact.approved.measurement
    review, terms = measurement.review, measurement.privacy
    yield Heading(f"{_title(measurement)}: {_state(fact)}", 3)
    if measurement.test_only is not None:
        yield Paragraph("It is marked test_only: its noise protects nobody.", "notice")
    if fact.revocation is not None:
        yield Paragraph(
            f"It was stopped on {moment(fact.revocation.at_ms)} by the governance key {fact.revocation.key_id}: "
            f"{fact.revocation.reason}",
            "notice",
        )
    self_id = "rectifier" in measurement.channels
    yield Grid(
        f"What was signed for {_title(measurement)}",
        ("question", "answer"),
        (
            ("Why", measurement.purpose),
            ("Who answers for it", _NOT_SAID if review is None else review.owner),
            ("What harm was considered", _NOT_SAID if review is None else review.harm_considered),
            ("Which data it uses", _NOT_SAID if review is None else review.data_used),
            ("How long results are kept", _NOT_SAID if review is None else review.retention),
            ("Groups compared", f"{', '.join(measurement.group_names)}; each with {measurement.reference}"),
            ("What you said of yourself (Self-ID)", "is used, if you said something" if self_id else "is not used"),
            ("Windows", ", ".join(level.name for level in measurement.levels)),
            ("Your events", f"at most {terms.contribution_cap} a UTC day count"),
            (
                "Your days",
                "every day counts"
                if terms.rotation is None
                else f"on at most {terms.days_in_30} of any 30 and {terms.days_in_year} of any 365 you count",
            ),
            ("What a day costs you", _cost(plan_noise(measurement).statement())),
            ("SHA-256 of the signed specification", fact.approved.spec.hex()),
            ("Approved by", _approved_by(fact.approval)),
        ),
    )
    yield from _windows(fact)


def _cost(statement: PrivacyStatement) -> str:
    if statement.epsilon is None:
        return "no promise: its noise protects nobody"
    return (
        f"epsilon {statement.epsilon:.3g} at delta {statement.delta:g} on replacing what is known of you, "
        f"{shown_epsilon(statement.epsilon_add_remove)} on adding or removing you (rho {statement.rho:g}); of "
        f"{statement.unit}"
    )


def _approved_by(approval: ApprovalFacts | Unread) -> str:
    if isinstance(approval, Unread):
        return f"could not be read: {approval.why}"
    when = "with the last approval needed on" if approval.source == "decisions" else "put on the topic on"
    return (
        f"{len(approval.key_ids)} of {approval.keys} reviewers' keys ({approval.needed} are needed): "
        f"{', '.join(approval.key_ids)}; {when} {moment(approval.at_ms)}, as {approval.source} says"
    )


def _windows(fact: MeasurementFacts) -> Iterator[Block]:
    name = _title(fact.approved.measurement)
    if isinstance(fact.windows, Unread):
        yield _missing(f"The windows of {name}", fact.windows)
        return
    rows = tuple(
        (level.name, *(f"{fact.windows.get(level.name, {}).get(outcome, 0):,}" for outcome in _OUTCOMES))
        for level in fact.approved.measurement.levels
    )
    yield Grid(f"Windows of {name} on the results' topic so far", ("window", *_OUTCOMES), rows)


# -- alarms -----------------------------------------------------------------------------------------------------------


def _alarms(facts: Facts) -> Iterator[Block]:
    yield Heading("Alarms, and what was decided about them")
    yield Paragraph(
        "Where the evidence that a group is treated differently passes what the signed terms tolerate, an alarm "
        f"begins. Reviewers then have until a deadline to decide what is to be done. {alarms.NOTHING_CHANGES}."
    )
    if isinstance(facts.reviews, Unread):
        yield _missing("Alarms", facts.reviews)
        return
    if not facts.reviews:
        yield Paragraph("There has been none in the windows that are still kept.")
        return
    rows = tuple(
        (
            alarms.in_words(review.alarm),
            alarms.state_in_words(review, facts.made_ms),
            "; ".join(map(alarms.disposition_in_words, review.dispositions)) or "nothing yet",
        )
        for review in facts.reviews
    )
    yield Grid("Alarms, those that are still to be decided first", ("alarm", "review", "what was decided"), rows)


# -- spending ---------------------------------------------------------------------------------------------------------


def _spent(facts: Facts) -> Iterator[Block]:
    yield Heading("What it has cost")
    yield Paragraph(
        "Two parties each hold one half of the sums, add their own noise, and keep a ledger that every one can check. "
        "Each figure is the most that one member can have spent over the period, over all measurements. Epsilon bounds "
        "how much what is published can depend on one person: below 1 it is little, above 10 it promises little. It is "
        "given on replacement: had what is known of one person been someone else's."
    )
    for party, view in facts.ledgers.items():
        if isinstance(view, Unread):
            yield _missing(f"The ledger of party {party}", view)
        else:
            yield from _ledger(party, view)


def _ledger(party: str, view: LedgerView) -> Iterator[Block]:
    rows = tuple((_period(period), *_amounts(period)) for period in view.periods)
    yield Grid(
        f"Ledger of party {party}: {view.debits:,} debits; relation: replacement; delta {view.delta:g}",
        ("period", "spent (epsilon)", "limit (epsilon)", "left (rho)", "by measurement (rho)"),
        rows,
    )
    yield Paragraph(view.forecast_in_words())


def _period(period: PeriodSpend) -> str:
    days = period.first_day if period.first_day == period.last_day else f"{period.first_day} to {period.last_day}"
    length = PERIOD_DAYS[period.period]
    return f"{'one UTC day' if length == 1 else f'{length} days'}: {days}"


def _amounts(period: PeriodSpend) -> tuple[str, ...]:
    by = ", ".join(f"{name} {rho:.4g}" for name, rho in period.by_measurement.items()) or "nothing"
    return (
        f"{shown_epsilon(period.epsilon)} (rho {period.rho:.4g})",
        f"{shown_epsilon(period.epsilon_limit)} (rho {period.limit:g})",
        f"{period.remaining:.4g}",
        by,
    )


# -- retention --------------------------------------------------------------------------------------------------------


def _kept(facts: Facts) -> Iterator[Block]:
    yield Heading("What is deleted, and when")
    yield Paragraph(
        "Nothing that is written says who belongs to which group, but for what members said of themselves, which is in "
        "the company's own profile data. What could be traced to a person on its way is encrypted with keys that are "
        "destroyed; what is kept for longer is noised, or is about no person. What people write of their worries is "
        "kept as they wrote it, without a name, and others can read it. As the cluster is configured now:"
    )
    rows = tuple((name, _HOLDS[name], _kept_for(config)) for name, config in facts.topics.items())
    yield Grid("Topics, and how long they keep a record", ("topic", "holds", "keeps"), rows)
    lifetime = facts.settings.keys.epoch_lifetime_hours
    yield Paragraph(
        f"A key is used for at most {lifetime:g} hours (setting keys.epoch_lifetime_hours). It is destroyed as soon as "
        "it has ended and everything that was encrypted to it has been counted; from then on what a topic still holds "
        "of those records can be read by no one."
    )
    if isinstance(facts.epochs, Unread):
        yield _missing("The present keys' ends", facts.epochs)
        return
    ends = tuple(
        (role, "it has no valid key now" if end is None else moment(end)) for role, end in facts.epochs.items()
    )
    yield Grid("When the present keys end", ("role", "its key ends"), ends)


def _kept_for(config: Mapping[str, str] | Unread) -> str:
    if isinstance(config, Unread):
        return f"could not be read: {config.why}"
    policy, retention = config.get("cleanup.policy", ""), config.get("retention.ms")
    latest = "the latest record of each key" if "compact" in policy else ""
    if "delete" not in policy:
        return latest or f"(clean-up policy {policy!r})"
    if retention is None:
        return "could not be read: the cluster does not say retention.ms"
    if int(retention) < 0:
        return "for ever"
    hours = int(retention) / _HOUR_MS
    span = f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
    return f"{latest}, for {span}" if latest else span


# -- leaving ----------------------------------------------------------------------------------------------------------


def _leaving(facts: Facts) -> Iterator[Block]:
    topic = facts.settings.topic("member-attributes")
    yield Heading("How to opt out, or raise a concern")
    yield Paragraph(
        "You may opt out at any time, without a reason. Nothing of you counts from the next batch on, also not what "
        "you said of yourself; and what is published would look almost the same if you had not. Ask whoever runs this "
        f"service; on their side it is one record on the topic {topic}, whose key is your member id and whose value "
        'is {"opt_out": true}. They write it with this command, from a file that holds one member id a line:'
    )
    yield Command("evenstream members opt-out FILE")
    yield Paragraph("Sums that were published before stay published: you are in them, within the cost stated above.")
    yield Paragraph(
        f"If something about a measurement worries you, say so without a name, on {_form(facts.settings)}. Reviewers "
        "read it, and may answer it or close it in the public log of decisions."
    )


def _form(settings: Settings) -> str:
    """Where the form for a concern is: its address, unless that is of the machine that serves it alone."""
    host = settings.http.host
    if host in ("", "localhost", "0.0.0.0", "::") or host.startswith("127.") or host == "::1":  # noqa: S104  # compared
        return (
            "the page /concerns of the publish service; whoever runs this service has the address under which it can "
            "be reached"
        )
    scheme = "http" if settings.http.certificate_file is None else "https"
    return f"the page {scheme}://{f'[{host}]' if ':' in host else host}:{settings.port('publish')}/concerns"


# -- reading ----------------------------------------------------------------------------------------------------------


def _reading(facts: Facts) -> Iterator[Block]:
    yield Heading("How to read the results, and their limits")
    confidence = 100 * facts.settings.publish.confidence
    yield Listing(
        (
            "Results are about groups. Nobody is assigned a race or a group: each member counts a little for each, by "
            "an estimate from name and place, or by what they said of themselves.",
            f"Every value comes with an interval of {confidence:g} %, which allows for chance and for the noise. Two "
            "values whose intervals overlap widely are not known to differ.",
            "A gap is a group's rate less the reference group's. It says that treatment differs, not why.",
            "The weighted estimate understates gaps, since a name and a place only hint at a group. The corrected "
            "and rectified ones mend that, each under an assumption; where they disagree the record says so.",
            "A window is void where the two parties do not agree or its numbers cannot be true, suppressed where no "
            "group is large enough to say anything, refused where the budget is used up, and withdrawn where reviewers "
            "stopped the measurement.",
            "Rows of one member are not independent of one another, and days add up: the cost of a period is that of "
            "all its days on which a member can count.",
            "The promise holds if at least one of the two parties is honest. What may be replaced is your race "
            "probabilities and your Self-ID; that you used the service at all is no secret from those who run it.",
        )
    )


# -- keys and sources -------------------------------------------------------------------------------------------------


def _keys(facts: Facts) -> Iterator[Block]:
    yield Heading("Public keys")
    yield Paragraph(
        "Specifications, decisions, ledgers, releases and epoch keys are signed. With these keys (trusted.json) anyone "
        "can check them; here are their fingerprints, SHA-256 of the key."
    )
    yield Grid("Roles", ("role", "fingerprint"), tuple(facts.identities.items()))
    yield Grid("Reviewers", ("key id", "fingerprint"), tuple(facts.governance.items()))


def _sources(facts: Facts) -> Iterator[Block]:
    yield Heading("Where this page is from")
    prefix = facts.settings.deployment
    rows = tuple((f"{prefix}.{name}", f"{offset:,}") for name, offset in sorted(facts.read.items()))
    yield Grid(f"Topics as they were on {moment(facts.made_ms)}", ("topic", "read up to offset"), rows)
    yield Paragraph("Anyone with access to these topics and the public keys can check the ledgers and make this page:")
    yield Command(
        "evenstream ledger verify --party a\nevenstream ledger verify --party b\nevenstream transparency --out FOLDER"
    )
