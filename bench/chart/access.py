"""``files/acls.yaml``: what each principal may do, from the table of ``streams.acl``, for KafkaUser resources.

A template fills in what a release names: ``{deployment}``, ``{source}`` and ``{member-attributes}``.
"""

from __future__ import annotations

from typing import Any

from streams.acl import TABLE, Rule, rules
from streams.settings import Settings

_DEPLOYMENT, _SOURCE, _MEMBERS = "deployment-of-a-release", "source-of-a-release", "members-of-a-release"
_NAMES = {_DEPLOYMENT: "{deployment}", _SOURCE: "{source}", _MEMBERS: "{member-attributes}"}
"""Names that stand nowhere else, and what a template finds in their place."""
_KINDS = {"topic": "topic", "group": "group", "transactional_id": "transactionalId"}


def acls() -> dict[str, Any]:
    """By principal, whom it stands for and its rules, in the order of the table.

    A rule has the fields of Strimzi's ``acls``, ``name`` being text with the names above. One with ``each: sources`` is
    repeated for every source topic.
    """
    settings = Settings.model_validate(
        {"deployment": _DEPLOYMENT, "topics": {"sources": [_SOURCE], "member_attributes": _MEMBERS}}
    )
    found = rules(settings)
    return {
        "principals": {
            role: {"who": access.who, "acls": [_acl(rule) for rule in found if rule.role == role]}
            for role, access in TABLE.items()
        }
    }


def _acl(rule: Rule) -> dict[str, Any]:
    name = rule.name
    for real, placeholder in _NAMES.items():
        name = name.replace(real, placeholder)
    return {
        "resource": _KINDS[rule.resource],
        "name": name,
        "patternType": "prefix" if rule.prefixed else "literal",
        **({"each": "sources"} if rule.name == _SOURCE else {}),
        "operations": list(rule.operations),
    }
