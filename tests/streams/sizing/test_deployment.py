"""Partitions, workers, cores, memory and bytes of whole deployments, from a laptop to a billion members."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from audit_examples import ROOT

from estimator.members import MemberStore
from privacy import ContributionCap, Measurement, parse_measurement
from streams.errors import InputError
from streams.roles.counted_chunks import CountedChunks
from streams.settings import Settings, load_settings
from streams.sizing import Layout, Load, Size, load_of, size_of
from streams.sizing.constants import QUANTITIES, Constants, read_constants
from streams.sizing.cores import BUSIEST, reading
from streams.sizing.deployment import START_SECONDS, party_limit
from streams.sizing.load import Demand, busiest
from streams.sizing.memory import MEMBER_BYTES, entries
from streams.state import StateCodec


@pytest.fixture(scope="module")
def spec() -> Measurement:
    """Windows of 10 s and 1 min, twenty cells."""
    path = ROOT / "examples" / "simulated-feed" / "measurement.yaml"
    return parse_measurement(path.read_text(), origin="feed")


def load(spec: Measurement, rate: float, members: float) -> Load:
    """A row an event."""
    return load_of([spec], rate, 1.0, int(members), Settings())


def constants(**changed: dict[str, float]) -> Constants:
    """Costs that a test can add up: nothing costs anything, but for what is named."""
    cpu = {role: dict.fromkeys(names, 0.0) | changed.get(role, {}) for role, names in QUANTITIES.items()}
    return read_constants().model_copy(update={"cpu": cpu})


EVERY = [(1.0, 1), (10.0, 1e4), (2_000.0, 1e5), (2e4, 5e6), (1e5, 5e7), (1e6, 1e9), (3e7, 1e11), (0.001, 1e9)]


@pytest.mark.parametrize(("rate", "members"), EVERY)
def test_every_size_is_sound(spec: Measurement, rate: float, members: float) -> None:
    """Figures are finite and positive, and workers no more than partitions, whatever is asked."""
    size = size_of(load(spec, rate, members))
    numbers = [size.cores, size.memory, size.written, size.read, size.start_seconds, size.party_limit]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert 1 <= size.layout.attach <= size.layout.partitions <= 64
    assert 1 <= size.layout.seal <= size.layout.sources
    assert [role.role for role in size.roles] == ["seal", "attach", "a", "b", "publish"]
    assert all(topic.written >= 0 and 0 < topic.kept <= topic.most for topic in size.topics)
    assert size.least_partitions == 0 or size.least_partitions <= size.layout.partitions


def test_sizes_grow_with_rate_and_members(spec: Measurement) -> None:
    """More events or more members never take less."""
    sizes = [size_of(load(spec, rate, members)) for rate, members in EVERY[:6]]
    for less, more in itertools.pairwise(sizes):
        assert more.cores >= less.cores
        assert more.memory > less.memory
        assert more.written > less.written
        assert more.layout.partitions >= less.layout.partitions


def test_as_few_partitions_as_do(spec: Measurement) -> None:
    """With half as many some worker of attach has too much to do, or too many members to load."""
    size = size_of(load(spec, 1e6, 1e9))
    assert size.least_partitions == size.layout.partitions > 4
    assert size.role("attach").busiest <= BUSIEST
    assert size.start_seconds <= START_SECONDS
    half = size_of(load(spec, 1e6, 1e9), partitions=size.least_partitions // 2)
    assert half.start_seconds > START_SECONDS or half.role("attach").busiest > BUSIEST
    assert half.layout.attach == half.layout.partitions  # the most that there can be


def test_as_few_workers_as_do(spec: Measurement) -> None:
    """One worker fewer of seal has more than 70 % of a core to do."""
    known = constants(seal={"events": 10e-6})
    size = size_of(load(spec, 200_000.0, 1e6), sources=12, constants=known)  # two cores
    assert size.layout.seal == 3
    assert size.role("seal").busiest == pytest.approx(2 / 3)
    assert size.role("seal").cores == pytest.approx(2.0)


def test_work_is_divided_by_whole_partitions(spec: Measurement) -> None:
    """Five partitions among four workers: one of them has two."""
    assert busiest(5, 4) == pytest.approx(0.4)
    known = constants(seal={"events": 1e-6}, attach={"rows": 2e-6})
    size = size_of(load(spec, 500_000.0, 1e6), partitions=5, sources=5, constants=known)
    assert size.layout.attach == 2  # 3 of 5 partitions: 0.6 cores
    assert size.role("attach").busiest == pytest.approx(0.6)


def test_what_was_made_already_is_kept_to(spec: Measurement) -> None:
    """Given numbers of partitions are used, and what does not fit then says so."""
    size = size_of(load(spec, 1e6, 1e6), partitions=2, sources=3)
    assert (size.layout.partitions, size.layout.sources, size.layout.seal) == (2, 3, 3)
    assert not size.fits
    assert size.role("seal").busiest > BUSIEST


def test_settings_count(spec: Measurement) -> None:
    """Partitions of the settings are the fewest that are tried; copies and retention are the settings' own."""
    settings = load_settings(None, ("topics.partitions=6", "topics.retention_hours=24"))
    asked = replace(load(spec, 2_000.0, 1e5), settings=settings)
    size = size_of(asked)
    assert (size.layout.partitions, size.least_partitions) == (6, 1)
    shares = next(topic for topic in size.topics if topic.name == "shares")
    assert shares.most == pytest.approx(86_400 * shares.written)


def test_measurements_add_up(spec: Measurement) -> None:
    """Of two on one topic events are read once and decoded twice; of two on two topics they are read twice."""
    other = Measurement.model_validate(spec.model_dump() | {"id": "other"})
    source = spec.source.model_dump() | {"topic": "elsewhere"}
    apart = Measurement.model_validate(spec.model_dump() | {"id": "apart", "source": source})
    both = load_of([spec, other], 1_000.0, 2.0, 10_000, Settings())
    assert (both.rows, both.events, both.decodings) == (2_000.0, 500.0, 1_000.0)
    assert load_of([spec, apart], 1_000.0, 2.0, 10_000, Settings()).events == 1_000.0
    one, two = size_of(load_of([spec], 1_000.0, 2.0, 10_000, Settings())), size_of(both)

    def written(size: Size, name: str) -> float:
        return next(topic.written for topic in size.topics if topic.name == name)

    assert written(two, "releases-a") == pytest.approx(2 * written(one, "releases-a"), rel=0.02)
    assert one.cores < two.cores < 2 * one.cores  # roles idle once


def test_the_parties_limit_is_where_one_core_is_too_little(spec: Measurement) -> None:
    """At the limit a party has just 70 % of a core to do; ten times beyond it the deployment does not fit."""
    asked = load(spec, 20_000.0, 1e6)
    size = size_of(asked)
    at_limit = size_of(asked.times(size.party_limit / asked.rows), partitions=4, sources=4)
    assert at_limit.role("a").busiest == pytest.approx(BUSIEST, rel=0.02)
    assert not size_of(asked.times(10 * size.party_limit / asked.rows)).fits
    assert math.isinf(party_limit(asked, Layout(4, 4, 1, 1), constants()))


def test_a_longer_interval_fills_batches(spec: Measurement) -> None:
    """With thin batches it gives a party room for more rows."""
    asked = load(spec, 1e6, 1e9)
    layout = Layout(32, 64, 5, 32)
    known = read_constants()
    assert party_limit(asked.committing_each(10.0), layout, known) > 1.2 * party_limit(asked, layout, known)


def test_members_take_what_the_store_promises(spec: Measurement) -> None:
    """40 bytes a member, which a real store keeps to, and twice that while they are loaded."""
    size = size_of(load(spec, 10.0, 1e6))
    assert size.role("attach").memory["members"] == 2 * MEMBER_BYTES * 1e6
    store = MemberStore(b"key", code_width=4)
    ids = np.array([b"m%09d" % number for number in range(100_000)])
    store.upsert(ids, np.zeros((ids.size, 4), np.uint32), np.zeros(ids.size, np.uint16), np.zeros(ids.size, np.uint8))
    assert store.bytes_per_member <= MEMBER_BYTES


def test_a_burst_makes_no_role_larger(spec: Measurement) -> None:
    """Ten times the rate waits in Kafka: seal, the parties and publish take as much memory as before."""
    calm, burst = (size_of(load(spec, rate, 1e6), partitions=4, sources=4) for rate in (5_000.0, 50_000.0))
    for role in ("seal", "a", "b", "publish"):
        assert burst.role(role).bytes == pytest.approx(calm.role(role).bytes)


def test_who_has_counted_takes_as_many_entries_as_counted() -> None:
    """Against the chunks themselves, over a day of 600 transactions: no more entries than said, and not a third."""
    cap = ContributionCap("first", 24, b"key")
    chunks, codec = CountedChunks(bytes(32), 20_000, 0, cap), StateCodec(bytes(32), "attach")
    rng, numbers, most = np.random.default_rng(2), iter(range(100_000)), 0
    for _ in range(600):
        tags = rng.integers(1, 500, 40).astype(np.uint64)
        chunks.add(tags.size, (tags, cap.marks(np.zeros(tags.size, np.uint8))))
        chunks.state(codec, lambda: next(numbers), 500)
        most = max(most, sum(run.entries[0].size for run in chunks._runs))
    day = 86_400
    said = entries(rows=600 * 40 / day, members=499.0, transactions=600 / day)
    assert most <= said <= 3 * most


def test_small_lots_give_way(spec: Measurement) -> None:
    """Polls that find something are no more than events, or than twenty a second, and fewer as a worker is busy."""
    costs, layout = read_constants().cpu["seal"], Layout(4, 4, 1, 1)
    rare, often = (reading(load(spec, rate, 1e4), layout, 0.02, costs) for rate in (1.0, 3_000.0))
    assert rare["polls"] == pytest.approx(1.0, rel=0.05)
    assert rare["lots"] == pytest.approx(1.0, rel=0.05)
    assert 15 < often["polls"] < 20
    assert often["lots"] == pytest.approx(4 * often["polls"], rel=0.01)
    busy = reading(load(spec, 3_000.0, 1e4), layout, 0.9, costs)
    assert busy["polls"] < often["polls"] / 5
    assert reading(load(spec, 3_000.0, 1e4), layout, 1.5, costs)["polls"] < 1


def test_what_a_core_uses_is_not_what_it_can_do(spec: Measurement) -> None:
    """Small lots cost seal cores, and no worker is added for them."""
    seal = size_of(load(spec, 500.0, 1e5)).role("seal")
    assert seal.cores > 1.2 * seal.busiest
    busy = size_of(load(spec, 150_000.0, 1e5), partitions=4, sources=4).role("seal")
    assert busy.workers == 1
    assert busy.busiest < busy.cores < 1


@pytest.mark.parametrize(
    ("rate", "members", "message"),
    [
        (10.0, 0, "from 1 to 100,000,000,000 members, got 0"),
        (10.0, 2e11, "members, got 200,000,000,000"),
        (2e9, 10, "rows and events a second"),
        (0.0, 10, "rows and events a second"),
    ],
)
def test_what_cannot_be_is_refused(spec: Measurement, rate: float, members: float, message: str) -> None:
    """More people than ever lived, or more rows than anything carries, is a slip of the keyboard."""
    with pytest.raises(InputError, match=message):
        size_of(load(spec, rate, members))


def test_rare_events_of_many(spec: Measurement) -> None:
    """Where one event in a hundred has a row, seal reads them all."""
    rare = Load((Demand(spec, 100.0, 10_000.0),), 1_000, Settings())
    assert size_of(rare).role("seal").cores > size_of(load(spec, 100.0, 1_000)).role("seal").cores
