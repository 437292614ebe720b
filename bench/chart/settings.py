"""evenstream's settings as a part of the chart's values.schema.json, so that Helm refuses one that does not exist.

Names and types only: what a number may be, evenstream says itself, in words, when the doctor runs before an install.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streams.settings import Settings

SCHEMA = Path(__file__).parents[2] / "helm" / "evenstream" / "values.schema.json"


def schema() -> str:
    """The text of values.schema.json, with its definition of settings as the code has them now."""
    found = json.loads(SCHEMA.read_text())
    found["definitions"]["settings"] = _settings()
    return json.dumps(found, indent=2) + "\n"


def _settings() -> dict[str, Any]:
    whole = Settings.model_json_schema()
    return _group(whole, whole["$defs"])


def _group(group: Mapping[str, Any], groups: Mapping[str, Any]) -> dict[str, Any]:
    """An object of settings, in which every name is known."""
    properties = {}
    for name, each in group["properties"].items():
        inner = groups.get(each.get("$ref", "").rpartition("/")[2])
        properties[name] = _group(inner, groups) if inner else _type(each)
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _type(each: Mapping[str, Any]) -> dict[str, Any]:
    """The type of one setting; several where it may also be null."""
    types = sorted({one["type"] for one in each.get("anyOf", [each]) if "type" in one})
    return {"type": types[0] if len(types) == 1 else types} if types else {}
