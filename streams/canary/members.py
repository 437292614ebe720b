"""The canaries: members who cannot be mistaken for anyone, and what the company's topics say of them.

Each run draws them anew. Ids and unknown names are random; known names and places are rare ones of the Census tables,
chosen so that the race probabilities of a member are six telling numbers and not one that is nearly 1. Between them
they go every way that a member's data can go: counted, over the cap, opted out, unknown, unreadable, refused.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, RaceModel
from estimator.census import load_given_names, load_places, load_surnames
from estimator.moments import moments_of
from estimator.self_id import mask_of, masses_of
from secure_agg import SCALE
from streams.canary.encodings import Trace, to_integers, traces_of_integers, traces_of_text, traces_of_vectors

FEATURE_FIELD = "surface"
ROUND_MS = 10_000
_COUNTED = 6
_LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True)
class Canary:
    """One member.

    Attributes:
        kind: which way the member's data goes.
        member_id: as on the company's topics.
        attributes: what `member-attributes` says; None where there is no record.
        record: the record's bytes, where they are not simply the attributes as JSON.
        events: how many events a round.
        in_events: whether events carry names and places as well, so that `seal` has rightly seen them.
    """

    kind: str
    member_id: str
    attributes: dict[str, object] | None
    record: bytes | None = None
    events: int = 1
    in_events: bool = False

    @property
    def value(self) -> bytes | None:
        """The value of the attribute record, None where there is none."""
        if self.record is not None or self.attributes is None:
            return self.record
        return json.dumps(self.attributes, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Canaries:
    """All of a run's canaries, and a feature that only their events have."""

    members: tuple[Canary, ...]
    feature: str
    vectors: dict[str, NDArray[np.float64]] = field(repr=False)
    """Race probabilities of the known ones, by id: shape (6,)."""

    @classmethod
    def draw(cls, model: RaceModel, own_texts: Iterable[str] = ()) -> Canaries:
        """Draw a run's canaries.

        Args:
            own_texts: ZCTAs, tracts and words that would be found where no member is (``texts_in_programs``).
        """
        rng = np.random.default_rng(secrets.randbits(128))
        taken = set(own_texts)
        known = _known_people(rng, model, taken, _COUNTED + 6)
        members = [
            Canary("counted", _member_id("-\u00fc" if k == 0 else ""), known.pop(), events=2) for k in range(_COUNTED)
        ]
        members += [
            Canary("Self-ID", _member_id(), known.pop() | {"self_id": [GROUPS[1]]}),
            Canary("Self-ID, several", _member_id(), known.pop() | {"self_id": [GROUPS[0], GROUPS[3]]}),
            Canary("opted out", _member_id(), known.pop() | {"opt_out": True}),
            Canary("opts out at run time", _member_id(), known.pop()),
            Canary("over the cap", _member_id(), known.pop(), events=40),
            Canary("removed at run time", _member_id(), known.pop()),
            Canary("unknown names", _member_id(), _unknown_person(rng, taken)),
            Canary("unknown member", _member_id(), None),
            Canary("unknown Self-ID", _member_id(), _unknown_person(rng, taken) | {"self_id": ["martian"]}),
        ]
        cut = _unknown_person(rng, taken)
        members.append(Canary("unreadable record", _member_id(), cut, json.dumps(cut).encode()[:-1]))
        for kind in ("malformed events", "oversized events", "late events", "events from the future"):
            members.append(Canary(kind, _member_id(), _unknown_person(rng, taken), in_events=True))
        people = [member for member in members if "tract" in (member.attributes or {}) and _is_known(member)]
        codes = model.encode({name: [_text(m, name) for m in people] for name in model.attributes})
        vectors = dict(zip([m.member_id for m in people], model.posterior_of_codes(codes), strict=True))
        return cls(tuple(members), f"feature-{secrets.token_hex(8)}", vectors)

    def of(self, kind: str) -> Canary:
        """The canary of a kind."""
        return next(member for member in self.members if member.kind == kind)

    # -- what is written ----------------------------------------------------------------------------------------------

    def attributes(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each record of `member-attributes`."""
        for member in self.members:
            if member.value is not None:
                yield member.member_id.encode(), member.value

    def events(self, round_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each event of the round that begins then."""
        for member in self.members:
            for number in range(member.events):
                yield member.member_id.encode(), self._event(member, round_ms + 97 * number % ROUND_MS, number)
            for value in self._spoiled(member, round_ms):
                yield member.member_id.encode(), value

    def _event(self, member: Canary, time_ms: int, number: int) -> bytes:
        event = {
            "viewer": member.member_id,
            "ts": time_ms,
            "score": (number % 10) / 10,
            "recommended": number % 2 == 0,
            FEATURE_FIELD: self.feature,
        }
        if member.kind == "late events":
            event["ts"] = time_ms - 3_600_000
        if member.kind == "events from the future":
            event["ts"] = time_ms + 3_600_000
        return json.dumps(event | (member.attributes or {} if member.in_events else {}), ensure_ascii=False).encode()

    def _spoiled(self, member: Canary, time_ms: int) -> Iterator[bytes]:
        whole = self._event(member, time_ms, 0)
        if member.kind == "malformed events":
            yield whole[:-1]  # cut
            yield whole.replace(b'"ts": ', b'"ts": "') + b'"'
            yield whole.replace(b'"recommended": true', b'"recommended": "' + member.member_id.encode() + b'"')
            yield json.dumps([member.member_id, member.attributes]).encode()  # no object
            yield whole.replace(f'"{member.member_id}"'.encode(), json.dumps([member.member_id]).encode())
            yield whole.replace(member.member_id.encode(), member.member_id.encode() * 8)  # an id that is too long
            yield b"\xff" + whole
        elif member.kind == "oversized events":
            yield whole[:-1] + b', "more": "' + member.member_id.encode() * 60_000 + b'"}'

    # -- what is looked for -------------------------------------------------------------------------------------------

    def traces(self) -> list[Trace]:
        """Every byte string that must not be found."""
        found = [trace for member in self.members for trace in _traces_of(member)]
        found += traces_of_text("feature", "all events", self.feature)
        found += traces_of_vectors(self.vectors, SCALE)
        for who, vector in self.vectors.items():
            member = next(m for m in self.members if m.member_id == who)
            fixed = to_integers(vector, SCALE)
            said = member.attributes.get("self_id") if member.attributes else None
            residual = np.zeros((0, len(GROUPS)), dtype=np.int64)
            if isinstance(said, list):
                mask = np.array([mask_of(said, GROUPS)], dtype=np.uint16)
                residual = masses_of(mask, len(GROUPS), SCALE).view(np.int64) - fixed
                found += traces_of_integers("Self-ID residual", who, residual[0].tolist())
            moments = moments_of(fixed.astype(np.uint64)[None], residual, SCALE)
            # Without the two counts in the middle, which are 1 or 0 for any row.
            products, squares = moments[: -len(GROUPS) - 2], moments[-len(GROUPS) :]
            found += traces_of_integers("moments of one row", who, products.tolist())
            found += traces_of_integers("moments of one row", who, squares.tolist())
        return found


def _traces_of(member: Canary) -> Iterator[Trace]:
    who = member.member_id
    yield from traces_of_text("id", who, member.member_id)
    for name, value in (member.attributes or {}).items():
        if name in ("family_name", "given_name"):
            yield from traces_of_text("name", who, str(value))
        elif name == "tract":
            yield from traces_of_text("place", who, str(value))
        elif name == "zcta":
            # Five digits may be anything; quoted, or beside the name of the field, they are not.
            for form in (f'"{value}"', f"'{value}'", f"zcta={value}"):
                yield from traces_of_text("place", who, form)


def _member_id(ending: str = "") -> str:
    return f"canary-{secrets.token_hex(8)}{ending}"


def _unknown_person(rng: np.random.Generator, taken: set[str]) -> dict[str, object]:
    """Names that are in no table, and a place of which there is none.

    Nobody else lives there: seal may hold the places of those whose events carry them, and must not hold the others'.
    """
    names = ["".join(rng.choice(list(_LETTERS), 11).tolist()).capitalize() for _ in range(2)]
    while True:
        zcta, tract = f"00{rng.integers(1, 99):03d}", f"99{rng.integers(10**8, 10**9 - 1):09d}"
        if zcta not in taken and tract not in taken:
            taken |= {zcta, tract}
            return {"family_name": names[0], "given_name": names[1], "zcta": zcta, "tract": tract}


def _known_people(
    rng: np.random.Generator, model: RaceModel, own_texts: Collection[str], count: int
) -> list[dict[str, object]]:
    """Rare names and real places whose race probabilities tell: several of the six are no small numbers."""
    surnames = [name for name in load_surnames(2010).codes if len(name) >= 9]
    given_names = [name for name in load_given_names().codes if len(name) >= 8]
    places = load_places()
    tracts = [tract for tract in places.tracts if tract not in own_texts]
    zctas = [zcta for zcta in places.zctas if zcta not in own_texts]
    words = "\n".join(own_texts)
    people: list[dict[str, object]] = []
    while len(people) < count:
        person: dict[str, object] = {
            "family_name": surnames[rng.integers(len(surnames))].capitalize(),
            "given_name": given_names[rng.integers(len(given_names))].capitalize(),
            "tract": tracts[rng.integers(len(tracts))],
            "zcta": zctas[rng.integers(len(zctas))],
        }
        if any(str(person[name]).lower() in words for name in ("family_name", "given_name")):
            continue
        codes = model.encode({name: [str(person[name]) if name in person else None] for name in model.attributes})
        vector = model.posterior_of_codes(codes)[0]
        if (vector > 0.01).sum() >= 4 and vector.max() < 0.9:
            people.append(person)
    return people


def _is_known(member: Canary) -> bool:
    names = member.attributes or {}
    return str(names.get("family_name", "")).upper() in load_surnames(2010).codes


def _text(member: Canary, name: str) -> str | None:
    value = (member.attributes or {}).get(name)
    return value if isinstance(value, str) else None
