"""What the value of a record of `fairness-metrics` is, for machines: JSON Schema, made from the types.

A schema says what every reader may rely on, and no more, so that a record of a later version is valid under it: fields
that it does not know are allowed, and fields with a default need not be there, as they are not in records that are
older than the field. The rule of versions is in docs/protocol.md. The types forbid what they do not know when a record
is *made*: publish cannot write a field that is not here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from streams.records.metric import SCHEMA, FairnessMetric, Privacy

Schema = dict[str, Any]

_NULL: Schema = {"type": "null"}
_ABSENT_OR_NULL = dict.fromkeys(("corrected_by", "rows_per_member"), _NULL)


def _when(statuses: list[str], then: Schema) -> Schema:
    return {"if": {"properties": {"status": {"enum": statuses}}}, "then": then}


_NO_NUMBERS: Schema = {
    "properties": {"results": {"maxItems": 0}, "table": _NULL, "moments": _NULL, "rectifier": _NULL},
}
CONDITIONS: list[Schema] = [
    _when(["published"], {"properties": {"reason": _NULL}}),
    _when(["void", "suppressed", "withdrawn"], {"properties": {"reason": {"type": "string"}}}),
    _when(["void", "withdrawn"], _NO_NUMBERS),
    _when(["published", "suppressed"], {"properties": {"table": {"type": "object"}}}),
    _when(["suppressed"], {"properties": {"results": {"items": {"properties": {"value": _NULL}}}}}),
    _when(["withdrawn"], {"properties": {"privacy": _NULL, "checks": _NULL, **_ABSENT_OR_NULL}}),
    _when(
        ["published", "void", "suppressed"],
        {"properties": {"privacy": {"type": "object"}, "checks": {"type": "object"}}},
    ),
    _when(["void", "withdrawn"], {"properties": {"detection": _NULL}}),
]
"""What each status says: the same that ``FairnessMetric`` demands of itself."""


def json_schema() -> Schema:
    """The record's value, as JSON Schema 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        **schema_of_the_types("#/$defs/{model}"),
        "allOf": CONDITIONS,
    }


def json_schema_text() -> str:
    """The same as a file, the same bytes each time."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_of_the_types(references: str) -> Schema:
    """What pydantic says of the types, for readers: nothing that is not known is forbidden, each field described."""
    found = FairnessMetric.model_json_schema(by_alias=True, mode="validation", ref_template=references)
    for part in (found, *found["$defs"].values()):
        part.pop("title")
        part.pop("additionalProperties")
        part["description"], texts = _described(part["description"])
        for name, field in part["properties"].items():
            field.pop("title", None)
            if name in texts:
                field["description"] = texts[name]
    return found


_ATTRIBUTES = re.compile(r"(?:^|(?<=\. ))(\w+(?:, \w+)*): ")


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of its type, and of each field by its name in JSON."""
    text, _, attributes = docstring.partition("\n\nRaises:")[0].replace("``", "`").partition("\n\nAttributes:\n")
    parts = _ATTRIBUTES.split(" ".join(attributes.split()))[1:]
    fields = {}
    for names, meaning in zip(parts[::2], parts[1::2], strict=True):
        meaning = meaning.strip()
        fields.update(dict.fromkeys((_ALIASES.get(name, name) for name in names.split(", ")), meaning))
    return " ".join(text.split()), fields


_ALIASES = {name: field.alias for name, field in Privacy.model_fields.items() if field.alias is not None}
