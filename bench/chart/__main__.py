"""Write the chart's generated files: ``python -m bench.chart`` (``make chart-files``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streams.watch
from bench.chart import access, rules, settings, topics
from streams.watch.rules.render import as_yaml

FOLDER = Path(__file__).parents[2] / "helm" / "evenstream" / "files"
_DASHBOARDS = Path(streams.watch.__file__).parent / "dashboards"
_HEAD = "# Written by `make chart-files` from {source}: change it there.\n"


def rendered() -> dict[str, str]:
    """The text of each file, by its path below ``files``."""
    return {
        "acls.yaml": _yaml("streams/acl.py", access.acls()),
        "topics.yaml": _yaml("streams/kafka/topics.py", topics.topics()),
        "rules.yaml": _yaml("streams/watch/rules", rules.rules()),
        **{f"dashboards/{path.name}": path.read_text() for path in sorted(_DASHBOARDS.glob("*.json"))},
    }


def _yaml(source: str, document: dict[str, Any]) -> str:
    return _HEAD.format(source=source) + as_yaml(document)


def main() -> None:
    """Write all of them, and remove what is none of them any more."""
    files = rendered()
    for stale in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        if str(stale.relative_to(FOLDER)) not in files:
            stale.unlink()
            print(f"files/{stale.relative_to(FOLDER)}: removed")
    for name, text in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"files/{name}: {len(text.encode()):,} bytes")
    settings.SCHEMA.write_text(settings.schema())
    print(f"{settings.SCHEMA.name}: definitions.settings")


if __name__ == "__main__":
    main()
