"""What is wrong with a spec, said in the spec's own words: one line a problem, with the field, what was expected, what
came and so what to write instead. No validator's jargon reaches a reviewer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

_MAPPING = "a mapping"
_BINNED = "{field: path, bins: [rising edges]}"
_PATH = "a dotted path like shown.at, or list[].field for a field of an exploded list's elements"
_DURATION = "a whole number and a unit (ms, s, m, h, d), for example 10s or 1m"
_GAP = "a ratio of 0 or more and below 0.5"
_MOMENT = "a time with its zone, to the millisecond, for example 2026-11-24T15:00:00Z"
_BINS = "1 to 999 finite, rising edges, for example [0.2, 0.4, 0.6, 0.8]"

EXPECTED: Mapping[str, str] = {
    "id": "a name of 1 to 63 lower-case letters, digits and hyphens that does not begin with a hyphen",
    "revision": "a whole number from 1; each change of a signed measurement raises it",
    "purpose": "a sentence or more, at most 2000 characters: what is compared, and why",
    "source": f"{_MAPPING} with topic, member and time",
    "source.topic": "a Kafka topic's full name (letters, digits, '.', '_', '-', at most 249)",
    "source.arrival": "live (a running recommender) or record_time (a replay with its own times)",
    "source.explode": "a dotted path of a list, for example candidates",
    "source.member": _PATH,
    "source.member_max_bytes": "a whole number of bytes, 1 to 128, that holds the longest member id",
    "source.time": _PATH,
    "source.time_format": "iso8601, epoch_ms or epoch_s",
    "source.filter": "a list of conditions like {field: surface, one_of: [feed]}",
    "source.filter.field": _PATH,
    "source.filter.one_of": "a list of 1 to 1000 words, numbers or true/false",
    "cells": f"{_MAPPING} with decision or outcome (or both), and optionally score and rank",
    "cells.score": _BINNED,
    "cells.score.field": _PATH,
    "cells.score.bins": _BINS,
    "cells.decision": "{field: path}",
    "cells.decision.field": _PATH,
    "cells.outcome": "{field: path}",
    "cells.outcome.field": _PATH,
    "cells.rank": "{field: path, bins: [rising edges]}, and optionally starts_at",
    "cells.rank.field": _PATH,
    "cells.rank.bins": _BINS,
    "cells.rank.starts_at": "0 or 1: the number of the first place",
    "windows": f"{_MAPPING} with base, and optionally rollups, lateness and max_future",
    "windows.base": _DURATION,
    "windows.rollups": "a list of durations, each a multiple of the one before it, for example [1m, 1h]",
    "windows.lateness": _DURATION,
    "windows.max_future": _DURATION,
    "groups": "a list of 2 to 16 different names of lower-case letters, digits and underscores, as the group model has "
    "them, or nothing for the six of the Census",
    "reference": "the group that others are compared with: white, black, api, hispanic, native or multiple, or one of "
    "the measurement's own groups",
    "privacy": f"{_MAPPING} with contribution_cap and rho_member_day",
    "privacy.contribution_cap": "a whole number, 1 to 24: how many rows of a member may count in a UTC day",
    "privacy.cap_rule": "hours (a row in each of c hours that a keyed hash chooses) or first (the day's first c rows)",
    "privacy.rho_member_day": "a number above 0 and at most 10: zCDP rho for one member-day, on replacement",
    "privacy.level_shares": "each level with its part of rho_member_day, for example {10s: 0.5, 1m: 0.5}",
    "privacy.channel_shares": "table, and optionally moments and rectifier, each with its part of a level's rho, for "
    "example {table: 0.8, moments: 0.2}",
    "privacy.rotation": f"{_MAPPING} with days_in_30, and optionally days_in_year; without it every day counts",
    "privacy.rotation.days_in_30": "a whole number of days, 1 to 30: on at most so many of any 30 days a member counts",
    "privacy.rotation.days_in_year": "a whole number of days, 1 to 365: on at most so many of any 365 days a member "
    "counts",
    "privacy.delta": "a number above 0 and below 0.001, far below one in the number of members, for example 1.0e-9",
    "detection": f"{_MAPPING} with tolerated_gap, tolerated_gaps, false_alarm_every and review_within, each of them "
    "optional",
    "detection.tolerated_gap": f"{_GAP}, for example 0.02",
    "detection.tolerated_gaps": f"metrics, each with {_GAP}, for example {{tpr: 0.05}}",
    "detection.false_alarm_every": "a whole number and a unit, of at least 20 windows of the longest level, for "
    "example 30d",
    "detection.review_within": "a whole number and a unit, from 1m to 90d, for example 7d",
    "review": f"{_MAPPING} with owner, harm_considered, data_used and retention: what reviewers judge",
    "review.owner": "who answers for the measurement: a team and how to reach it, at most 200 characters",
    "review.harm_considered": "what could go wrong for whom, and what was done about it, at most 2000 characters",
    "review.data_used": "which data of members is read, and from where, at most 2000 characters",
    "review.retention": "what is kept of it, where and for how long, at most 2000 characters",
    "effective_from": _MOMENT,
    "expires": _MOMENT,
    "test_only": "{noise_scale_units: number}, or nothing",
    "test_only.noise_scale_units": "a number from 0.001 to 1000000: the noise's scale in units of 2^-20 row",
}
"""What each field takes, by its path without list positions."""

_RULE = "spec_rule"


def rules_broken(problems: Sequence[tuple[str, str]]) -> PydanticCustomError:
    """The error for rules between fields: (field, what is wrong and how to mend it) each."""
    return PydanticCustomError(_RULE, "a rule between fields is broken", {"problems": list(problems)})


def explain(error: ValidationError, origin: str, fields_of: Mapping[str, Iterable[str]]) -> str:
    """One line for each problem.

    Args:
        error: what the validator found.
        origin: the file's name, or what else was read.
        fields_of: for the path of each mapping ("" for the spec itself) the fields that it has, to guess misspellings.
    """
    lines: dict[str, None] = {}  # ordered, and a union's several complaints about one value become one
    for problem in error.errors(include_url=False):
        location = _without_variants(problem["loc"])
        where, path = _named(location), _path(location)
        if problem["type"] == _RULE:
            for field, text in problem["ctx"]["problems"]:
                lines[f"{origin}: {field}: {text}"] = None
        elif problem["type"] == "missing":
            lines[f"{origin}: {where}: is missing; add {EXPECTED.get(path, 'it')}"] = None
        elif problem["type"] == "extra_forbidden":
            lines[f"{origin}: {where}: is not a field here; {_correction(path, fields_of)}"] = None
        elif problem["type"] == "json_invalid":
            lines[f"{origin}: is not JSON"] = None
        else:
            lines[f"{origin}: {where}: expected {_expected(path)}; got {_came(problem['input'])}"] = None
    return "\n".join(lines)


def _without_variants(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without the name of a union's variant, which the validator puts behind a list's position."""
    if len(location) > 1 and isinstance(location[-2], int) and location[-1] in ("bool", "int", "float", "str"):
        return location[:-1]
    return location


def _named(location: tuple[int | str, ...]) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name or "the spec"


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(part for part in location if isinstance(part, str))


def _expected(path: str) -> str:
    # The keys of level_shares and channel_shares are names: what holds for the mapping is said of its entries.
    while path and path not in EXPECTED:
        path = path.rpartition(".")[0]
    return EXPECTED.get(path, "a measurement's spec")


def _correction(path: str, fields_of: Mapping[str, Iterable[str]]) -> str:
    parent, _, name = path.rpartition(".")
    known = list(fields_of.get(parent, ()))
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"remove it (there are {', '.join(known)})" if known else "remove it"


def _came(value: Any) -> str:
    if isinstance(value, dict):
        return f"a mapping with {', '.join(str(key) for key in list(value)[:8]) or 'nothing in it'}"
    if isinstance(value, list | tuple) and len(value) > 8:
        return f"a list of {len(value)}"
    shown = str(value) if isinstance(value, date) else repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
