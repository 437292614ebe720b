"""Check: are the topics that the role uses there, as the protocol needs them, and the company's own ones too?"""

from __future__ import annotations

from collections.abc import Iterator

from streams.acl import INPUTS, TABLE, compared_topics
from streams.doctor.findings import Finding
from streams.doctor.readiness.subject import WORKERS, Subject
from streams.errors import AccessRefused, TopicMismatch
from streams.kafka import topics
from streams.kafka.clients import partition_count

CHECK = "topics"

_MAKE = "`evenstream topics create` as the principal `operator`"


def check(subject: Subject) -> Iterator[Finding]:
    """One finding for each difference, else one that there is none."""
    wrong = [*_own(subject), *_sources(subject), *_members(subject)]
    yield from wrong
    if not wrong:
        count = len(_used(subject))
        yield Finding(CHECK, "ok", f"{count} topics of the deployment are there, {_how(subject)}" + _inputs(subject))


def _used(subject: Subject) -> frozenset[str]:
    """Short names of evenstream's own topics that a role uses: all of them for whoever may ask about every one."""
    access = TABLE[subject.role]
    if "DescribeConfigs" in access.every:
        return frozenset(plan.name.removeprefix(subject.settings.topic("")) for plan in topics.plan(subject.settings))
    return compared_topics(subject.role)


def all_made(subject: Subject) -> bool:
    """Whether every topic of the deployment that the role uses can be seen to be there.

    Raises:
        KafkaUnavailable: the cluster did not answer.
    """
    try:
        for short in _used(subject):
            partition_count(subject.settings, subject.settings.topic(short))
    except (AccessRefused, TopicMismatch):
        return False
    return True


def _compares(subject: Subject) -> bool:
    """Whether the table lets this principal ask for its topics' configuration."""
    return subject.role in WORKERS or "DescribeConfigs" in TABLE[subject.role].every


def _how(subject: Subject) -> str:
    return "as the protocol needs them" if _compares(subject) else "with the partitions that they must have"


def _inputs(subject: Subject) -> str:
    reads = INPUTS & set(TABLE[subject.role].reads)
    return ", and the company's own as well" if reads else ""


def _hidden(name: str, what: str) -> Finding:
    return Finding(CHECK, "unseen", f"{name}: this principal may not ask {what} (see acls)")


def _own(subject: Subject) -> Iterator[Finding]:
    settings, used = subject.settings, _used(subject)
    for plan in topics.plan(settings):
        if plan.name.removeprefix(settings.topic("")) not in used:
            continue
        try:
            if _compares(subject):
                for difference in topics.compare(settings, (plan,)):
                    says, _, mend = str(difference).partition("; ")
                    yield Finding(CHECK, "wrong", says, _MAKE if difference.name == "exists" else mend)
            else:
                yield from _counted(subject, plan.name, plan.partitions, _MAKE)
        except AccessRefused:
            yield _hidden(plan.name, "about it")


def _counted(subject: Subject, name: str, partitions: int, mend: str) -> Iterator[Finding]:
    try:
        count = partition_count(subject.settings, name)
    except TopicMismatch:
        yield Finding(CHECK, "wrong", f"{name}: does not exist", mend)
        return
    if count != partitions:
        yield Finding(
            CHECK,
            "wrong",
            f"{name}: partitions is {count}, expected {partitions}",
            "P is fixed for a topic set: topics.partitions must be what is there",
        )


def _members(subject: Subject) -> Iterator[Finding]:
    """A member's attributes must lie in the partition of the member's rows, and stay as long as the member."""
    if "member-attributes" not in TABLE[subject.role].reads:
        return
    settings = subject.settings
    name, partitions = settings.topic("member-attributes"), settings.topics.partitions
    mend = f"the company makes it, compacted, with {partitions} partitions"
    try:
        wrong = list(_counted(subject, name, partitions, mend))
    except AccessRefused:
        yield _hidden(name, "about it")
        return
    yield from wrong or _kept(subject, name)


def _kept(subject: Subject, name: str) -> Iterator[Finding]:
    """A topic that deletes by age forgets members, their opt-outs among them, and nobody would see it."""
    settings = subject.settings
    config = topics.configurations(settings, (name,)).get(name)
    if config is None:
        yield _hidden(name, "for its configuration")
    elif (policy := config.get("cleanup.policy", "")) != "compact":
        mend = topics.change_command(settings, name, "cleanup.policy", "compact")
        yield Finding(CHECK, "wrong", f"{name}: cleanup.policy is {policy}, expected compact", mend)


def _sources(subject: Subject) -> Iterator[Finding]:
    """Whether source topics are there, with a clock that suits who measures them: the broker's, but for a replay."""
    if subject.role != "seal":
        return
    settings = subject.settings
    arrivals: dict[str, str] = {}
    if subject.has_trusted:
        for entry in subject.control.approved():
            if entry.state(subject.now_ms) in ("scheduled", "active"):
                arrivals[entry.measurement.source.topic] = entry.measurement.source.arrival
    listed = settings.topics.sources or (() if arrivals else settings.sources())
    for name in dict.fromkeys((*listed, *arrivals)):
        if subject.enforced and name not in settings.sources():
            yield Finding(
                CHECK,
                "wrong",
                f"{name}: a measurement reads it, and topics.sources does not name it",
                "add it to topics.sources, and apply the ACLs again",
            )
        try:
            partition_count(settings, name)
        except TopicMismatch:
            yield Finding(
                CHECK,
                "wrong",
                f"{name}: does not exist",
                "the company makes its source topics; check topics.sources and the measurement",
            )
            continue
        except AccessRefused:
            yield _hidden(name, "about it")
            continue
        wanted = "CreateTime" if arrivals.get(name) == "record_time" else "LogAppendTime"
        found = topics.timestamp_type(settings, name)
        if found is None:
            yield _hidden(name, "for its configuration")
        elif found != wanted:
            mend = topics.change_command(settings, name, "message.timestamp.type", wanted)
            yield Finding(CHECK, "wrong", f"{name}: message.timestamp.type is {found}, expected {wanted}", mend)
