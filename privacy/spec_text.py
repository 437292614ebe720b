"""A spec's text: YAML, read strictly, because what a reviewer sees must be what is signed.

Plain YAML 1.1 has traps that would change a promise in silence. A key written twice keeps its last value; ``no`` and
``off`` become booleans (a surface called ``no`` would never match); ``1e-9`` is a word, not a number; anchors make a
small file mean a huge one. So: twice the same key and anchors are errors, and booleans and floats follow YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from privacy.errors import MeasurementError
from privacy.shallow_yaml import ShallowLoader

MAX_TEXT_BYTES = 128 * 1024


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


def _kept_resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """PyYAML's rules for plain words, by first letter, without those for booleans and floats."""
    return {
        first: [(tag, pattern) for tag, pattern in rules if tag not in (_BOOL, _FLOAT)]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _StrictLoader(ShallowLoader):
    """A safe loader without anchors and repeated keys, and with YAML 1.2's words for booleans and floats."""

    yaml_implicit_resolvers = _kept_resolvers()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
            raise yaml.constructor.ConstructorError(
                None, None, "anchors (&, *) are not allowed in a spec; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name!r} is written twice; keep one of them", key_node.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_StrictLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_spec_text(text: str, origin: str) -> dict[str, Any]:
    """Read YAML into a mapping.

    Args:
        text: at most 128 KiB.
        origin: its file's name, for errors.

    Raises:
        MeasurementError: one line: where, and what is wrong.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise MeasurementError(f"{origin}: a spec has at most {MAX_TEXT_BYTES} bytes, this one has {size}; shorten it")
    try:
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader, made stricter
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the spec"
        found = str(error.problem or error.context)
        if "but got '['" in found:
            found += "; within braces a path with [] needs quotes: 'list[].field'"
        raise MeasurementError(f"{origin}: {place}: {found}") from None
    except (yaml.YAMLError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise MeasurementError(f"{origin}: the text is not YAML: {first_line}") from None
    except RecursionError:
        raise MeasurementError(f"{origin}: the text is nested too deeply to be a spec") from None
    if not isinstance(content, dict):
        raise MeasurementError(
            f"{origin}: expected a mapping with id, purpose, source, cells, windows, reference and privacy, "
            f"got {'nothing' if content is None else 'a ' + type(content).__name__}; see examples/"
        )
    return content
