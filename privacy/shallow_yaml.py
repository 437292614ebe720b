"""YAML whose brackets have a depth: PyYAML takes time with the square of it, and recursion without end."""

from __future__ import annotations

import yaml

MOST_BRACKETS = 32
"""How deep brackets may be nested; specs and settings have four."""


class ShallowLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses text that is nested deeper than :data:`MOST_BRACKETS`."""

    def fetch_flow_collection_start(self, token_class: type[yaml.Token]) -> None:
        if self.flow_level >= MOST_BRACKETS:
            raise yaml.scanner.ScannerError(
                None, None, f"brackets are nested deeper than {MOST_BRACKETS}", self.get_mark()
            )
        super().fetch_flow_collection_start(token_class)
