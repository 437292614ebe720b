"""``evenstream keys``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from secure_agg import made_apart
from secure_agg.keyring import HOLDERS, MOST_REVIEWERS, create, generate
from streams.cli import Invocation
from streams.errors import InputError, SettingsError


@click.group()
def keys() -> None:
    """Make the roles' keys."""


@keys.command()
@click.option(
    "--reviewers",
    type=click.IntRange(1, MOST_REVIEWERS),
    default=3,
    show_default=True,
    help="How many governance keys; keys.governance_threshold of them must approve a measurement.",
)
@click.option(
    "--as-secrets",
    "prefix",
    metavar="PREFIX",
    help="In a pod: make Kubernetes Secrets PREFIX-seal, PREFIX-attach ... PREFIX-operator, and no file. For trials.",
)
@click.option("--namespace", help="Namespace of these Secrets; default: the pod's own.")
@click.option(
    "--service-account",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the pod's token, ca.crt and namespace; default: where Kubernetes mounts it.",
)
@click.pass_obj
def init(
    invocation: Invocation, reviewers: int, prefix: str | None, namespace: str | None, service_account: Path | None
) -> None:  # fmt: skip
    """Make every role's identity and state key, the reviewers' governance keys and an operator's, below keys.dir.

    One folder a role, private files with mode 0600: give each machine the folder of its own role and nothing else. The
    governance folder belongs to reviewers: each gets one key, reviewer-1.key and so on, and trusted.json. The operator
    folder belongs to whoever is on call: its key lets a stopped partition go on (`evenstream skip`).

    With --as-secrets each folder's files become a Secret in this pod's cluster instead, in one namespace that then has
    everyone's keys: for a trial. Where all of the Secrets are there already, nothing is done.
    """
    if prefix is None and (namespace, service_account) != (None, None):
        raise click.UsageError("--namespace and --service-account go with --as-secrets")
    settings = invocation.settings()
    threshold = settings.keys.governance_threshold
    if threshold > reviewers:
        raise SettingsError(
            f"keys.governance_threshold is {threshold}, but only {reviewers} governance keys would be made: nothing "
            f"could ever be approved. Use --reviewers {threshold} or more, or lower the threshold"
        )
    if prefix is not None:
        _make_secrets(settings.deployment, reviewers, prefix, namespace, service_account)
        return
    create(settings.keys.dir, settings.deployment, reviewers)
    click.echo(
        f"keys of deployment {settings.deployment!r} are in {settings.keys.dir}: seal, attach, a, b, publish, "
        f"operator, and governance ({reviewers} reviewers, {threshold} must approve). Keep them apart: whoever holds "
        "both a's and b's can undo the secrecy of rows, and whoever holds several reviewers' keys is all of them"
    )


def _make_secrets(
    deployment: str, reviewers: int, prefix: str, namespace: str | None, service_account: Path | None
) -> None:
    from streams import kubernetes_secrets

    folder = service_account or kubernetes_secrets.SERVICE_ACCOUNT
    server = kubernetes_secrets.ApiServer.of_pod(os.environ, folder, namespace)
    names, is_new = kubernetes_secrets.make_set(server, prefix, generate(deployment, reviewers))
    if not is_new:
        click.echo(f"{', '.join(names)} are in namespace {server.namespace} already; nothing was made")
        return
    click.echo(
        f"keys of deployment {deployment!r} are in namespace {server.namespace}: {', '.join(names)}. Whoever may read "
        "Secrets there is every role and every reviewer: this is for a trial. Elsewhere each domain makes its own "
        "(`evenstream keys make`)"
    )


@keys.command()
@click.argument("role", type=click.Choice(HOLDERS))
@click.pass_obj
def make(invocation: Invocation, role: str) -> None:
    """Make the keys of one ROLE, reviewer or operator below keys.dir, where nobody may have everyone's.

    Prints the public key, and writes it into public.json: hand that file out, and tell the key over another channel,
    so that whoever assembles trusted.json from all of them (`evenstream keys trust`) can compare.
    """
    settings = invocation.settings()
    public = made_apart.make(settings.keys.dir, role, settings.deployment)
    click.echo(public.public_bytes_raw().hex())
    folder = settings.keys.dir / role
    click.echo(
        f"keys of {role} for deployment {settings.deployment!r} are in {folder}. Hand out "
        f"{folder / made_apart.PUBLIC_FILE} and nothing else, and put trusted.json there when you get it",
        err=True,
    )


@keys.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--identity",
    "identities",
    multiple=True,
    metavar="ROLE=FILE",
    help="A PEM certificate, or a PEM public key, of a role whose key cert-manager made, say.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Where to write it; default: printed.")
@click.pass_obj
def trust(invocation: Invocation, files: tuple[Path, ...], identities: tuple[str, ...], out: Path | None) -> None:
    """Assemble trusted.json from the public.json of each of the five roles, of the reviewers, and of operators.

    Compare each public key with what its owner tells you over another channel: whoever could change a file on its way
    would be that role. Everyone puts the same trusted.json beside their own private key.
    """
    settings = invocation.settings()
    public = [made_apart.read_public(path) for path in files]
    public += [made_apart.read_certified(*_identity(text)) for text in identities]
    content = made_apart.assemble(public, settings.deployment, settings.keys.governance_threshold)
    if out is None:
        click.echo(content, nl=False)
        return
    if out.exists() and out.read_bytes() != content:
        raise InputError(f"{out} is there already and says something else; move it away, or name another file")
    out.write_bytes(content)
    for one in public:
        click.echo(f"{one.role:<10} {one.key.public_bytes_raw().hex()}  {one.source}")
    click.echo(f"{out} trusts these in deployment {settings.deployment!r}; a copy belongs beside each private key")


def _identity(text: str) -> tuple[str, Path]:
    role, separator, path = text.partition("=")
    if role not in HOLDERS or not separator or not path:
        raise InputError(f"--identity {text}: expected ROLE=FILE, where ROLE is one of {', '.join(HOLDERS)}")
    return role, Path(path)
