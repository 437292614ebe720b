"""The topic `fairness-metrics` as AsyncAPI 3.0: headers, key, partitioning, the topic's own settings, and the value.

Made from the same types as the JSON Schema of the value (``records.metric_schema``), and from the plan of the topics.
"""

from __future__ import annotations

from typing import Any, get_args

import yaml

from streams.kafka import topics
from streams.records.metric import SCHEMA, Status
from streams.records.metric_schema import CONDITIONS, Schema, schema_of_the_types
from streams.records.published import SIGNATURE_HEADER
from streams.settings import Settings

_HEADERS = {
    "ce_specversion": ("CloudEvents 1.0, binary mode", {"const": "1.0"}),
    "ce_id": (
        "MEASUREMENT/LEVEL/END_MS/VERSION. The same id is the same record: drop what comes twice",
        {"pattern": "^[^/]+/[^/]+/[0-9]+/[0-9]+$"},
    ),
    "ce_source": ("/evenstream/DEPLOYMENT", {"pattern": "^/evenstream/[^/]+$"}),
    "ce_subject": ("MEASUREMENT/LEVEL", {"pattern": "^[^/]+/[^/]+$"}),
    "ce_time": ("the window's end, UTC; not when it was written", {"format": "date-time"}),
    "ce_dataschema": ("names the schema's version; nothing is fetched", {"const": SCHEMA}),
    "content-type": ("of the value", {"const": "application/json"}),
    SIGNATURE_HEADER: (
        "base64 of publish's Ed25519 signature over deployment, key, ce_id and value (docs/protocol.md: which bytes). "
        "Publish signs all that it writes; records of a version that did not are without",
        {"pattern": "^[A-Za-z0-9+/]{86}==$"},
    ),
}

_STATUS_TEXT: dict[Status, str] = {
    "published": "A window's numbers, with the noised table that they come from.",
    "void": "Nothing can be said of this window; the reason is given. Never take the window before in its place.",
    "suppressed": "The window has a noised table, but no group says anything by itself.",
    "withdrawn": "Takes the place of the record that `supersedes` names: what that said does not hold any more.",
}


def asyncapi(settings: Settings) -> Schema:
    """The topic of a deployment, as AsyncAPI 3.0: headers, key, partitioning, the topic's own settings, the value.

    Payloads are AsyncAPI's own schema objects, which every tool reads: draft 07, in which a pair's two types are
    ``items``. The JSON Schema is the same otherwise.
    """
    plan = next(plan for plan in topics.plan(settings) if plan.name == settings.topic("fairness-metrics"))
    configuration = {
        "cleanup.policy": plan.config["cleanup.policy"].split(","),
        "retention.ms": int(plan.config["retention.ms"]),
        "max.message.bytes": int(plan.config["max.message.bytes"]),
    }
    value = _draft_07(schema_of_the_types("#/components/schemas/{model}"))
    schemas = value.pop("$defs")
    schemas["FairnessMetric"] = value | {"allOf": CONDITIONS}
    statuses = get_args(Status)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "fairness-metrics",
            "version": "1.0.0",
            "description": "Windowed comparisons of how a recommender treats groups, differentially private. Each "
            "record is one window of one level of one measurement. Readers ignore fields that they do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "fairnessMetrics": {
                "address": "{deployment}.fairness-metrics",
                "title": "fairness-metrics",
                "description": "Compacted: under each key the last record stays, until it is older than the topic "
                "keeps them. Partitioned by murmur2 of the measurement's id alone, so that one measurement's windows "
                "stay in order (the default partitioner would hash the whole key). Written in transactions: read with "
                "isolation.level=read_committed.",
                "parameters": {
                    "deployment": {"description": "The setting `deployment`.", "default": settings.deployment}
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in statuses},
                "bindings": {
                    "kafka": {
                        "partitions": plan.partitions,
                        "replicas": plan.replication_factor,
                        "topicConfiguration": configuration,
                        "bindingVersion": "0.5.0",
                    }
                },
            }
        },
        "operations": {
            "receiveWindows": {
                "action": "receive",
                "channel": {"$ref": "#/channels/fairnessMetrics"},
                "summary": "Read windows as they are published.",
                "messages": [{"$ref": f"#/channels/fairnessMetrics/messages/{name}"} for name in statuses],
            }
        },
        "components": {
            "messages": {status: _message(status) for status in statuses},
            "schemas": schemas,
        },
    }


def _message(status: Status) -> Schema:
    headers = {name: {"type": "string", "description": text, **rule} for name, (text, rule) in _HEADERS.items()}
    headers["ce_type"] = {"type": "string", "const": f"dev.evenstream.window.{status}.v1"}
    required = [name for name in headers if name != SIGNATURE_HEADER]
    return {
        "name": f"dev.evenstream.window.{status}.v1",
        "title": f"{status} window",
        "summary": _STATUS_TEXT[status],
        "contentType": "application/json",
        "headers": {"type": "object", "properties": headers, "required": required},
        "payload": {
            "allOf": [{"$ref": "#/components/schemas/FairnessMetric"}, {"properties": {"status": {"const": status}}}]
        },
        "bindings": {
            "kafka": {
                "key": {
                    "type": "string",
                    "description": "MEASUREMENT/LEVEL/END_MS: one record a window.",
                    "pattern": "^[^/]+/[^/]+/[0-9]+$",
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _draft_07(part: Any) -> Any:
    """A schema in which the types of a pair are called as draft 07 calls them."""
    if isinstance(part, list):
        return [_draft_07(each) for each in part]
    if isinstance(part, dict):
        return {"items" if name == "prefixItems" else name: _draft_07(value) for name, value in part.items()}
    return part


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # anchors are for people who write YAML, not for those who read it


def asyncapi_text(settings: Settings) -> str:
    """The same as a file, in YAML."""
    return yaml.dump(asyncapi(settings), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
