"""The real log, audited: shared by the tests of audits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from estimator import RaceModel
from privacy import Measurement, parse_measurement
from streams.file_rows import FileRows, counted_rows
from streams.members_file import MembersFile, load_members_file
from streams.replay import read_events

ROOT = Path(__file__).parents[1]
PRIMARIES = ROOT / "examples" / "primaries-2022"


@cache
def primaries() -> tuple[Measurement, RaceModel, MembersFile, FileRows]:
    """The spec of the primaries log, the race model, its members and the rows that count."""
    spec = parse_measurement((PRIMARIES / "measurement.yaml").read_text(), origin="primaries")
    model = RaceModel.load()
    members = load_members_file(PRIMARIES / "members.jsonl", model)
    return spec, model, members, counted_rows(read_events(PRIMARIES / "events.jsonl", spec), spec, members, unwatched)


def unwatched(done: int, total: int) -> None:
    """Progress that nobody looks at."""
