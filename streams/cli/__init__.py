"""The command line, ``evenstream``. One file a command; a command's code is loaded when it is called."""

from __future__ import annotations

import importlib
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from streams.errors import EvenstreamError
from streams.hardening import harden
from streams.settings import Settings, load_settings

_COMMANDS = {
    "demo": "The main job, live, on this machine: three minutes, ending with a result to judge.",
    "settings": "Print the reference of all settings.",
    "keys": "Make the roles' keys.",
    "topics": "Make and check evenstream's topics.",
    "plan": "What a measurement will be able to say, before anyone approves it, and what it takes.",
    "budget": "What measurements cost each member, over a day, 30 days and a year.",
    "probabilities": "How well a company's own members match, in aggregates only.",
    "audit": "The same mathematics over a file, without Kafka.",
    "members": "Take members out of every measurement.",
    "measurement": "Propose, review and approve measurements; stop them; verify who decided what.",
    "acl": "Who may do what on Kafka: printed, applied and tried.",
    "ledger": "Read a party's budget ledger, and check it against its releases.",
    "transparency": "Write the public page: what is measured, by whose approval, at what cost.",
    "alerts": "Rules for Prometheus, and what each alert means.",
    "retention": "Delete what every reader has read, and show what of people is left.",
    "tail": "Follow the topic fairness-metrics: windows as they are published, checked if you like.",
    "recompute": "Work published windows out again from their own noised tables, bit for bit.",
    "schema": "Print the schema of the topic fairness-metrics: JSON Schema, or AsyncAPI.",
    "concern": "Raise, list, answer and close concerns about measurements.",
    "review": "The reviews that alarms open: list them, and sign what was decided.",
    "canary": "Search for what is left of members who went through the whole system.",
    "seal": "Run the role seal: events in, sealed batches out.",
    "attach": "Run the role attach: sealed batches in, shares out.",
    "aggregate": "Run one party: shares in, noised releases out.",
    "publish": "Run the role publish: releases in, metrics out.",
    "scale": "Divide the work of seal or attach among several workers.",
    "skip": "Let a stopped partition go on without the batches at fault, by an operator's signed word.",
    "doctor": "Say why a pipeline stands still: which role, which partition, which window.",
    "up": "Run all five roles on this machine.",
    "replay": "Feed a JSONL log of events, and its members.",
    "simulate": "Feed a simulated population with a known truth.",
    "chaos": "Kill anything at any time, and show that every row counts exactly once.",
    "dev": "A real Kafka on a developer's machine.",
}


class _LazyGroup(click.Group):
    """Loads ``streams.cli.NAME`` when the command NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = {"seal": "roles", "attach": "roles", "aggregate": "roles", "publish": "roles", "up": "roles"}
        loaded = importlib.import_module(f"streams.cli.{module.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(loaded, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(self, args: Any = None, *arguments: Any, **more: Any) -> Any:
        if args is None:  # called as a program, and not by a test: before a key or a member's data can be read
            harden()
        return super().main(args, *arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("", err=True)
            ctx.exit(130)  # what a shell expects of a process that SIGINT ended
        except Exception as error:
            if not _is_for_the_user(error):
                raise
            click.echo(f"evenstream: {_told(error)}", err=True)
            ctx.exit(error.exit_status if isinstance(error, EvenstreamError) else 1)


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be used: {error.strerror}; name another path, or mend this one"
    return str(error)


def _is_for_the_user(error: Exception) -> bool:
    """A user's mistake, or the world's, gets a message; a traceback is for our own mistakes."""
    # Imported here: an error of theirs means that they are loaded, and `evenstream --help` need not wait for them.
    from estimator.errors import EstimatorError
    from privacy.errors import PrivacyError
    from secure_agg.errors import SecureAggregationError

    if isinstance(error, OSError):
        return error.filename is not None  # a path that the user named, or its folder
    return isinstance(error, EvenstreamError | PrivacyError | SecureAggregationError | EstimatorError)


class Invocation:
    """The global options of one call."""

    def __init__(self, config: Path | None, overrides: tuple[str, ...]) -> None:
        self.config = config
        self.overrides = overrides

    def settings(self) -> Settings:
        """The settings, read when a command needs them."""
        return load_settings(self.config, self.overrides)

    def arguments(self) -> list[str]:
        """The same global options, for a process that is started from this one."""
        config = ["--config", str(self.config)] if self.config else []
        return config + [part for override in self.overrides for part in ("--set", override)]


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="YAML file of settings.")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="One setting; wins over all else.")
@click.version_option(package_name="evenstream", prog_name="evenstream")
@click.pass_context
def main(ctx: click.Context, config: Path | None, overrides: tuple[str, ...]) -> None:
    """A live, private monitor of Equal Treatment for recommender systems, on Kafka."""
    ctx.obj = Invocation(config, overrides)
    # A command says itself what went wrong, and `measurement status` and `verify` which records have no effect. A
    # role's log lets both through again.
    for logger in (logging.getLogger("librdkafka"), logging.getLogger("streams.control")):
        ctx.call_on_close(partial(logger.setLevel, logger.level))  # whoever calls this as a function has loggers too
        logger.setLevel(logging.CRITICAL)


def is_terminal() -> bool:
    """Whether a person watches."""
    return sys.stderr.isatty()
