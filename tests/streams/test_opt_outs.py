"""Opting members out in bulk: which ids are taken, and that they act where attach reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from estimator import RaceModel
from streams.cli import main
from streams.errors import InputError
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.opt_outs import read_ids
from streams.roles.member_directory import MemberDirectory
from streams.roles.run_attach import load_members
from streams.settings import Settings


def test_ids_are_read_one_a_line() -> None:
    """Line ends of every kind and empty lines are no part of an id; spaces are."""
    assert read_ids([b"ann\n", b"bob\r\n", b"\n", b" c d", b""], "x") == [b"ann", b"bob", b" c d"]


@pytest.mark.parametrize("line", [b"a\0b\n", b"x" * 129])
def test_what_can_be_no_id_is_named_by_its_line(line: bytes) -> None:
    """Nothing is written where one line is wrong; the message tells the line, not the id."""
    with pytest.raises(InputError, match=r"ids\.txt, line 2: expected a member id") as raised:
        read_ids([b"ann\n", line], "ids.txt")
    assert line.decode().strip() not in str(raised.value)


def test_no_ids_is_an_error() -> None:
    """An empty file is a mistake, not a success."""
    with pytest.raises(InputError, match="holds no member ids"):
        read_ids([b"\n"], "ids.txt")


@pytest.mark.parametrize("given", ["file", "-"])
def test_the_command_takes_members_out(
    kafka: str, make_settings: Callable[..., Settings], tmp_path: Path, given: str
) -> None:
    """After the command, attach finds every member of the file in its partitions, and lets none of them count."""
    settings = make_settings(kafka, "topics.partitions=4")
    topics.create(settings, topics.input_plan(settings))
    ids = [b"m%04d" % k for k in range(500)]
    file = tmp_path / "ids"
    file.write_bytes(b"\n".join(ids))
    overrides = [f"deployment={settings.deployment}", f"kafka.bootstrap={kafka}", "topics.partitions=4"]
    arguments = [part for override in overrides for part in ("--set", override)]
    result = CliRunner().invoke(
        main,
        [*arguments, "members", "opt-out", str(file) if given == "file" else "-"],
        input=None if given == "file" else file.read_bytes(),
        env={"KAFKA_BOOTSTRAP": None, **{name: None for name in os.environ if name.startswith("EVENSTREAM")}},
    )
    assert result.exit_code == 0, result.output
    assert "500 opt-outs written" in result.output
    directory = MemberDirectory(RaceModel.load(), bytes(32), 4)
    for _ in load_members(settings, directory, [0, 1, 2, 3]):
        pass
    assert directory.misplaced == 0
    assert len(directory.store) == 500
    assert (directory.countable(np.array(ids)) == -1).all()
    values = {record.value() for record in read_to_end(settings, settings.topic("member-attributes"))}
    assert values == {b'{"opt_out": true}'}


def test_a_topic_that_is_not_there_is_a_message(kafka: str, make_settings: Callable[..., Settings]) -> None:
    """The command makes no topic, and says what is missing."""
    settings = make_settings(kafka)
    arguments = ["--set", f"deployment={settings.deployment}", "--set", f"kafka.bootstrap={kafka}"]
    result = CliRunner().invoke(main, [*arguments, "members", "opt-out", "-"], input=b"ann\n")
    assert result.exit_code == 1
    assert "does not exist" in result.output
