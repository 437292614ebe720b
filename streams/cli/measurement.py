"""``evenstream measurement``: how a measurement comes to be, and how it ends."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from pathlib import Path

import click

from privacy import Measurement, parse_measurement, plan_noise
from privacy.decisions import DecisionLog, Proposal
from privacy.spec_fields import parse_duration
from secure_agg.keyring import Trusted, load_governance, load_trusted_file
from streams.cli import Invocation
from streams.concerns import open_concerns
from streams.control import limits_of
from streams.errors import InputError
from streams.governance import (
    Governance,
    View,
    discrepancies,
    empty_log,
    read_records,
    refusals,
    starting,
)
from streams.report import decisions as report
from streams.report.numbers import moment
from streams.report.review import review as review_text
from streams.report.terminal import terminal_line
from streams.settings import Settings

_WIDTH = 110


@click.group()
def measurement() -> None:
    """Check, propose, review and approve measurements; stop them; verify who decided what."""


_spec = click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
_id = click.argument("name", metavar="ID")
_key = click.option("--key", type=click.Path(path_type=Path), required=True, help="The reviewer's private key file.")
_revision = click.option("--revision", type=click.IntRange(min=1), help="Which; by default the one that it can be.")
_days = click.option(
    "--days", type=click.IntRange(min=1), help="Of a spec: it ends so many days after it begins; default: as it says."
)
_reason = click.option("--reason", required=True, help="Why, in at most 2000 characters that everyone may read.")


def read_spec(path: Path) -> Measurement:
    """Read and check a spec's YAML (InputError, MeasurementError)."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from None
    return parse_measurement(text, origin=str(path))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@measurement.command()
@_spec
def check(spec: Path) -> None:
    """Check a spec and say what it measures and costs. Signs nothing, sends nothing."""
    found = read_spec(spec)
    plan = plan_noise(found)
    statement = plan.statement()
    click.echo(f"{found.id} revision {found.revision}: {found.cell_count} cells over {found.cell_axes}")
    click.echo(f"  groups: {', '.join(found.group_names)}; reference {found.reference}")
    for level in found.levels:
        noises = plan.level(level.name).channels.items()
        shown = ", ".join(f"{name} {noise.published_sigma_rows:.2f}" for name, noise in noises)
        click.echo(f"  level {level.name}: noise of an entry, rows: {shown}")
    if "rectifier" in found.channels:
        click.echo("  uses what members say of themselves (self_id)")
    click.echo(
        f"  costs each member-day rho {statement.rho:g}: epsilon {_shown(statement.epsilon)} (replacement), "
        f"{_shown(statement.epsilon_add_remove)} (add or remove), at delta {statement.delta:g}"
    )


def _shown(epsilon: float | None) -> str:
    return "without bound" if epsilon is None else f"{epsilon:.2f}"


@measurement.command()
@_spec
@_key
@_days
@click.option(
    "--notice",
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="How long reviewers have at least, where the spec does not say when it begins: 30s, 2h, 3d.",
)
@click.pass_obj
def propose(invocation: Invocation, spec: Path, key: Path, days: int | None, notice: str) -> None:
    """Put a spec before the reviewers: fix when it begins and ends, and write it to the log of decisions."""
    settings, found, now_ms = invocation.settings(), read_spec(spec), _now_ms()
    try:
        notice_ms = parse_duration(notice)
    except ValueError:
        raise InputError(f"--notice is {notice!r}; write a whole number and a unit: 30s, 2h or 3d") from None
    wanted = starting(found, now_ms, days=days, notice_ms=notice_ms)
    proposal = Governance(settings).propose(wanted, load_governance(key), now_ms)
    click.echo(
        f"{_named(proposal)} is proposed as spec {proposal.spec_sha256}\n"
        f"It would begin {_begin(proposal)}, so {settings.keys.governance_threshold} reviewers must approve it before: "
        f"evenstream measurement review {wanted.id}, then approve or reject"
    )


@measurement.command()
@click.argument("subject", metavar="ID|SPEC")
@_revision
@_days
@click.pass_obj
def review(invocation: Invocation, subject: str, revision: int | None, days: int | None) -> None:
    """Say in plain words who is measured, what anyone will see, and what it costs each member. Writes nothing."""
    settings, governance, now_ms = invocation.settings(), Governance(invocation.settings()), _now_ms()
    view = governance.view()
    if Path(subject).is_file() or "." in subject or "/" in subject:  # no id has a dot or a slash
        _show(settings, governance, view, starting(read_spec(Path(subject)), now_ms, days=days), now_ms)
        return
    proposal = _find(view.log, subject, revision, "proposed")
    (standing,) = (s for s in report.standings(view.log, view.control, now_ms) if s.proposal is proposal)
    click.echo(f"{standing}\n")
    _show(settings, governance, view, proposal.measurement, now_ms, proposal.state)


def _show(
    settings: Settings, governance: Governance, view: View, spec: Measurement, now_ms: int, state: str = "proposed"
) -> None:
    approved, limits = list(view.control.approved()), limits_of(settings)
    verdict = f"it is already {state}"
    if state == "proposed":
        refused = refusals(governance, view, spec, now_ms)
        verdict = refused or "nothing: every role would accept it once it has its approvals"
    for line in review_text(spec, settings.topic("fairness-metrics"), approved, limits, verdict, now_ms):
        indent = line[: len(line) - len(line.lstrip())]
        whole = line.lstrip().startswith("{") or not line
        click.echo(line if whole else textwrap.fill(line, _WIDTH, subsequent_indent=f"{indent}  "))


@measurement.command()
@_id
@_key
@_revision
@click.option("--spec-sha256", metavar="H", help="Refuse unless the log has the spec that was reviewed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def approve(
    invocation: Invocation, name: str, key: Path, revision: int | None, spec_sha256: str | None, yes: bool
) -> None:
    """Sign a proposed spec's exact bytes; the last approval that it takes puts it in force."""
    settings, now_ms = invocation.settings(), _now_ms()
    governance, private_key = Governance(settings), load_governance(key)
    view = governance.view()
    proposal = _find(view.log, name, revision, "proposed")
    if spec_sha256 is not None and spec_sha256.lower() != proposal.spec_sha256:
        raise InputError(
            f"{_named(proposal)} is on the log as spec {proposal.spec_sha256}, not as {spec_sha256}: it is not what "
            "was reviewed. Review what is there, then approve that"
        )
    _show(settings, governance, view, proposal.measurement, now_ms)
    click.echo(f"\nTo be signed, for deployment {settings.deployment}:\n{proposal.spec.decode()}\n")
    _confirm(f"Approve {_named(proposal)}?", yes)
    after = governance.approve(proposal, private_key, _now_ms())
    if after.state == "approved":
        click.echo(f"{_named(after)} is approved and on the topic; its first window begins {_begin(after)}")
    else:
        click.echo(f"{_named(after)}: {len(after.approvals)} of {settings.keys.governance_threshold} approvals")


@measurement.command()
@_id
@_key
@_reason
@_revision
@click.pass_obj
def reject(invocation: Invocation, name: str, key: Path, reason: str, revision: int | None) -> None:
    """Say no to a proposed spec; a reviewer's last word counts."""
    governance = Governance(invocation.settings())
    proposal = _find(governance.view().log, name, revision, "proposed")
    after = governance.reject(proposal, load_governance(key), reason, _now_ms())
    count = len(after.rejections)
    still = "is rejected" if after.state == "rejected" else "can still be approved"
    click.echo(f"{_named(after)} {still}: {count} rejection{'' if count == 1 else 's'}")


@measurement.command()
@_id
@_key
@_reason
@_revision
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def revoke(invocation: Invocation, name: str, key: Path, reason: str, revision: int | None, yes: bool) -> None:
    """Stop a measurement, for good and in every role; one reviewer is enough.

    What the roles have in force comes first, whatever the log says of it; else it is what was proposed.
    """
    governance = Governance(invocation.settings())
    spec = _to_stop(governance.view(), name, revision)
    named = f"{spec.id} revision {spec.revision}"
    _confirm(f"Stop {named} for good?", yes)
    governance.revoke(spec, load_governance(key), reason, _now_ms())
    click.echo(f"{named} is revoked: no role counts or publishes any more of it")


@measurement.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(invocation: Invocation, name: str | None, as_json: bool) -> None:
    """Where each measurement stands: who approved it, until when it runs."""
    settings = invocation.settings()
    view = Governance(settings).view()
    found = report.standings(view.log, view.control, _now_ms(), open_concerns(settings, view))
    if name is not None:
        found = [standing for standing in found if standing.measurement.id == name]
        if not found:
            raise InputError(_unknown(view.log, name))
    if as_json:
        click.echo(json.dumps([standing.as_json() for standing in found], indent=2))
        return
    for standing in found:
        click.echo(str(standing))
    if not found:
        click.echo("no measurement has been proposed yet")


@measurement.command()
@click.argument("name", metavar="[ID]", required=False)
@click.option(
    "--export",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the whole log instead: the exact bytes of each record, one a line, for `verify`.",
)
@click.pass_obj
def history(invocation: Invocation, name: str | None, export: Path | None) -> None:
    """Who decided what, and when, oldest first."""
    log = Governance(invocation.settings()).view().log
    if name is not None and not log.revisions(name):
        raise InputError(_unknown(log, name))
    if export is not None:
        export.write_bytes(b"".join(entry.record + b"\n" for entry in log.chain))
        click.echo(f"{export}: {len(log.chain)} records; head {log.head}")
        return
    for line in report.history(log, name):
        click.echo(line)
    if log.misfits:
        click.echo(f"{len(log.misfits)} records have no effect; `evenstream measurement verify` says why", err=True)


@measurement.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--governance",
    "trusted",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The trusted.json that pins the governance keys; default: that in keys.dir.",
)
@click.option("--threshold", type=click.IntRange(1), help="How many approvals it takes; default: the setting.")
@click.pass_obj
def verify(invocation: Invocation, file: Path | None, trusted: Path | None, threshold: int | None) -> None:
    """Check every signature and the whole chain of decisions; exit code 1 where something does not hold.

    FILE is an exported log (`history --export`), which needs no Kafka. Without it both topics are read, and
    `measurements` must hold exactly what the log approved and revoked.
    """
    settings = invocation.settings()
    pinned = load_trusted_file(trusted or settings.keys.dir / "governance" / "trusted.json")
    k = threshold or settings.keys.governance_threshold
    if file is not None:
        log, differences = empty_log(pinned, k), []
        for offset, record in enumerate(read_records(file)):
            log.apply(offset, record)
    else:
        view = Governance(settings, pinned, k).view()
        log, differences = view.log, discrepancies(view, pinned)
    _tell(log, pinned, differences, place="line" if file is not None else "offset")
    if log.misfits or differences:
        sys.exit(1)


def _tell(log: DecisionLog, trusted: Trusted, differences: list[tuple[int | None, str]], place: str) -> None:
    click.echo(
        f"deployment {trusted.deployment}: {len(log.chain)} records, {log.threshold} of {log.reviewers} reviewers must "
        f"approve; head {log.head}"
    )
    for proposal in log.proposals:
        names = ", ".join(approval.key_id for approval in proposal.approvals) or "nobody"
        click.echo(f"  {_named(proposal)}: {proposal.state}, approved by {names}; spec {proposal.spec_sha256}")
    for alarm, said in log.dispositions.items():
        last = said[-1]
        click.echo(f"  alarm {alarm}: {last.disposition.decision}, by {last.key_id}; {len(said)} in all")
    first = 1 if place == "line" else 0  # lines are counted from 1, offsets from 0
    for misfit in log.misfits[:1]:
        click.echo(f"does not hold, {place} {misfit.offset + first}: {terminal_line(misfit.why)}")
    if len(log.misfits) > 1:
        click.echo(f"and {len(log.misfits) - 1} more after it")
    for offset, what in differences:
        click.echo(f"measurements{'' if offset is None else f', offset {offset}'}: {terminal_line(what)}")
    if not (log.misfits or differences):
        click.echo("every record holds")


def _find(log: DecisionLog, name: str, revision: int | None, wanted: str) -> Proposal:
    """The revision that is meant: the one that is named, else the only one in the wanted state, else the newest."""
    known = log.revisions(name)
    if not known:
        raise InputError(_unknown(log, name))
    if revision is not None:
        found = log.current(name, revision)
        if found is None:
            numbers = ", ".join(str(proposal.measurement.revision) for proposal in known)
            raise InputError(f"revision {revision} of {name!r} was never proposed; on the log: {numbers}")
        return found
    fitting = [proposal for proposal in known if proposal.state == wanted]
    if len(fitting) > 1:
        numbers = ", ".join(str(proposal.measurement.revision) for proposal in fitting)
        raise InputError(f"several revisions of {name!r} are {wanted}: {numbers}. Name one with --revision")
    return fitting[0] if fitting else known[-1]


def _to_stop(view: View, name: str, revision: int | None) -> Measurement:
    """The spec that is meant: the one that is in force, else the one that was proposed."""
    standing = [
        entry.measurement
        for entry in view.control.approved()
        if entry.measurement.id == name and not entry.revoked and revision in (None, entry.measurement.revision)
    ]
    if len(standing) > 1:
        numbers = ", ".join(str(spec.revision) for spec in standing)
        raise InputError(f"several revisions of {name!r} are approved: {numbers}. Name one with --revision")
    return standing[0] if standing else _find(view.log, name, revision, "approved").measurement


def _unknown(log: DecisionLog, name: str) -> str:
    known = ", ".join(sorted({proposal.measurement.id for proposal in log.proposals}))
    return f"no measurement {name!r} was ever proposed; on the log: {known or 'none'}"


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("this is no terminal, so nobody can be asked; read what is signed, then repeat with --yes")
    if not click.confirm(question):
        raise InputError("nothing was signed")


def _named(proposal: Proposal) -> str:
    return f"{proposal.measurement.id} revision {proposal.measurement.revision}"


def _begin(proposal: Proposal) -> str:
    return moment(proposal.measurement.effective_from_ms or 0)
