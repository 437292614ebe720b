"""Writing layouts: what is refused, what is written, and that two at once do not make two of one generation."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from secure_agg.keyring import create, load_trusted
from streams.acl import allowed, rules
from streams.cli import main
from streams.errors import EvenstreamError, InputError, KafkaUnavailable
from streams.kafka import topics
from streams.kafka.clients import read_to_end
from streams.records.layout import decode_layout
from streams.scaling import present, scale, transactional_id
from streams.settings import PRINCIPALS, Settings

MakeSettings = Callable[..., Settings]


@pytest.mark.parametrize("role", ["seal", "attach"])
def test_whoever_scales_and_workers_never_fence_each_other(make_settings: MakeSettings, role: str) -> None:
    """Layouts are written under an id that is the role's, and no worker's in any generation."""
    settings = make_settings()
    own = transactional_id(settings, role)
    allowing = [r for r in PRINCIPALS if allowed(rules(settings), r, "transactional_id", own)]
    assert allowing == [role]
    assert own == f"{settings.deployment}.{role}.scale"
    assert own not in {settings.transactional_id(role, shard, n) for n in range(50) for shard in range(64)}
    assert not own.rpartition(".")[2].isdecimal()


@pytest.mark.parametrize(
    ("role", "shards", "words"),
    [
        ("attach", 5, "expected 1 to 4 shards of 'attach' (topics.partitions"),
        ("attach", 0, "expected 1 to 4"),
        ("seal", 65, "expected 1 to 64"),
        ("a", 2, "'a' is always one worker"),
    ],
)
def test_what_no_role_can_have_is_refused(make_settings: MakeSettings, role: str, shards: int, words: str) -> None:
    """Bounds are checked before Kafka is asked; the message says what is possible."""
    with pytest.raises(InputError, match=re.escape(words)):
        scale(make_settings(), role, shards, 0)


def test_only_the_roles_own_key_writes(make_settings: MakeSettings) -> None:
    """Without the role's folder nothing can be signed, and the error says where it was looked for."""
    with pytest.raises(EvenstreamError, match="does not exist"):
        scale(make_settings(), "attach", 2, 0)


def test_scaling_on_kafka(kafka: str, make_settings: MakeSettings) -> None:
    """Layouts follow each other; the same number again writes nothing; of several at once each gets a generation."""
    settings = make_settings(kafka)
    topics.create(settings, topics.plan(settings))
    create(settings.keys.dir, settings.deployment)
    assert present(settings, "attach").generation == 0
    first = scale(settings, "attach", 3, 5)
    assert (first.generation, first.shards) == (1, 3)
    assert scale(settings, "attach", 3, 6) == first == present(settings, "attach")
    assert present(settings, "seal").generation == 0

    def one_of_several(shards: int) -> bool:
        try:
            scale(settings, "attach", shards, 7)
        except KafkaUnavailable:
            return False  # another one has fenced it, and nothing of it was written
        return True

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(one_of_several, (1, 2, 4, 1)))
    assert any(written)
    trusted = load_trusted(settings.keys.dir / "attach").identities
    records = [decode_layout(r.value() or b"", trusted) for r in read_to_end(settings, settings.topic("keys"))]
    assert [record.generation for record in records] == list(range(1, len(records) + 1))
    assert records[0].at_ms == 5

    arguments = ["--set", f"deployment={settings.deployment}", "--set", f"kafka.bootstrap={kafka}"]
    arguments += ["--set", f"keys.dir={settings.keys.dir}", "scale", "attach"]
    shards = present(settings, "attach").shards
    told = CliRunner().invoke(main, arguments)
    assert told.output == f"attach: generation {len(records)}, {shards} shard{'s' if shards > 1 else ''}\n"
    wanted = 3 if shards != 3 else 2
    told = CliRunner().invoke(main, [*arguments, str(wanted)])
    assert told.exit_code == 0, told.output
    assert f"attach: generation {len(records) + 1}, {wanted} shards, before: generation" in told.output
    assert "attach.shard=0, attach.shard=1" in told.output
    told = CliRunner().invoke(main, [*arguments, "9"])
    assert told.exit_code == 1
    assert "expected 1 to 4 shards" in told.output
    count = wanted + 1
    for given, expected in ((wanted, wanted), (wanted - 1, wanted - 1), (count, wanted - 1)):
        told = CliRunner().invoke(main, [*arguments, str(given), "--at-most"])
        assert told.exit_code == 0, told.output
        assert present(settings, "attach").shards == expected, told.output
        assert ("nothing to do" in told.output) == (given != wanted - 1)
    alone = CliRunner().invoke(main, [*arguments, "--at-most"])
    assert (alone.exit_code, "goes with SHARDS" in alone.output) == (2, True)
