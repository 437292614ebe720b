"""Holds bills of materials to CycloneDX's own schema, by CycloneDX's own library; see ``make sbom``."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion  # type: ignore[import-not-found]  # in an environment of its own
from cyclonedx.validation.json import JsonStrictValidator  # type: ignore[import-not-found]


def main(*paths: str) -> int:
    """Validate files; the exit status."""
    validator, status = JsonStrictValidator(SchemaVersion.V1_6), 0
    for path in paths:
        problem = validator.validate_str(Path(path).read_text())
        print(f"{path}: {'valid CycloneDX 1.6' if problem is None else problem}")
        status |= problem is not None
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
