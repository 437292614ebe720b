"""``make sbom``: a bill of materials of the locked run-time dependencies, CycloneDX 1.6 as JSON (ECMA-424).

Two files: what evenstream runs on, from requirements.lock; and, apart, the jars of the Kafka that developers and tests
start, which no installation has. Licences are what the installed packages say of themselves. The hashes of a component
are those of every file that the lock lets in: wheels of all platforms, and sources.

Two runs of one state give the same bytes: no clock and no random number is in it, and the serial number is a hash of
the rest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
import uuid
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.supply.lock import LockUnusable, Pinned, read_lock

_ROOT = Path(__file__).parents[2]
_SPEC = "1.6"


def runtime_bill(lock: list[Pinned], project: dict[str, Any]) -> dict[str, Any]:
    """The bill of what evenstream runs on.

    Args:
        project: the table of that name in pyproject.toml.
    """
    components = [_python_component(pinned) for pinned in lock]
    return _bill(
        {
            "type": "application",
            "bom-ref": f"pkg:pypi/{project['name']}@{project['version']}",
            "name": project["name"],
            "version": project["version"],
            "licenses": [{"license": {"id": project["license"]}}],
            "purl": f"pkg:pypi/{project['name']}@{project['version']}",
        },
        components,
    )


def broker_bill(jars: Path, version: str) -> dict[str, Any]:
    """The bill of the developers' Kafka: each jar that lies in its folder."""
    components = [_jar_component(jar) for jar in sorted(jars.glob("*.jar"))]
    purl = f"pkg:maven/org.apache.kafka/kafka_2.13@{version}"
    return _bill(
        {"type": "application", "bom-ref": "dev-broker", "name": "kafka", "version": version, "purl": purl}, components
    )


def _bill(subject: dict[str, Any], components: list[dict[str, Any]]) -> dict[str, Any]:
    bill: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{_SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
        "dependencies": [{"ref": subject["bom-ref"], "dependsOn": [part["bom-ref"] for part in components]}],
    }
    digest = hashlib.sha256(json.dumps(bill, sort_keys=True).encode()).digest()
    return bill | {"serialNumber": uuid.UUID(bytes=digest[:16], version=4).urn}


def _python_component(pinned: Pinned) -> dict[str, Any]:
    purl = f"pkg:pypi/{pinned.name}@{pinned.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": pinned.name,
        "version": pinned.version,
        "hashes": [{"alg": "SHA-256", "content": content} for content in pinned.hashes],
        "purl": purl,
    }
    licences = _licences(pinned)
    return component | ({"licenses": licences} if licences else {})


def _licences(pinned: Pinned) -> list[dict[str, Any]]:
    """What the installed package says: an SPDX expression (PEP 639), else the names of its classifiers."""
    try:
        said = metadata.metadata(pinned.name)
    except metadata.PackageNotFoundError:  # a dependency of other platforms or versions of Python
        return []
    if "License-Expression" in said:
        return [{"expression": said["License-Expression"]}]
    names = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or () if line.startswith("License ::")]
    if not names and said["License"]:
        names = [str(said["License"]).strip().splitlines()[0][:100]]
    return [{"license": {"name": name}} for name in names]


def _jar_component(jar: Path) -> dict[str, Any]:
    group, name, version = _coordinates(jar)
    purl = f"pkg:maven/{group + '/' if group else ''}{name}@{version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(jar.read_bytes()).hexdigest()}],
        "purl": purl,
    }
    return component | ({"group": group} if group else {})


def _coordinates(jar: Path) -> tuple[str, str, str]:
    """Group, name and version: Maven's own note in the jar, where there is one; else what the file is called."""
    name, _, version = jar.stem.rpartition("-")
    with zipfile.ZipFile(jar) as archive:
        for entry in archive.namelist():
            if entry.startswith("META-INF/maven/") and entry.endswith("/pom.properties"):
                lines = archive.read(entry).decode(errors="replace").splitlines()
                said = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
                if jar.stem == f"{said.get('artifactId')}-{said.get('version')}":  # not of a jar packed into this one
                    return said.get("groupId", ""), said["artifactId"], said["version"]
    if jar.stem.endswith("-" + version) and name.startswith("kafka"):
        return "org.apache.kafka", name, version
    return "", name, version


def main() -> int:
    """Write the bills; the exit status."""
    parser = argparse.ArgumentParser(description="Write the bills of materials.")
    parser.add_argument("--out", type=Path, default=_ROOT / "build")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    try:
        lock = read_lock(_ROOT / "requirements.lock")
    except LockUnusable as error:
        print(error, file=sys.stderr)
        return 1
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    _write(out / "sbom.cdx.json", runtime_bill(lock, project))
    from streams.kafka.dev_jars import KAFKA_VERSION, cache_folder

    jars = cache_folder() / "libs"
    if jars.is_dir():
        _write(out / "sbom-dev-broker.cdx.json", broker_bill(jars, KAFKA_VERSION))
    else:
        print("the developers' Kafka is not here yet (evenstream dev kafka fetch): its bill is not written")
    return 0


def _write(path: Path, bill: dict[str, Any]) -> None:
    path.write_text(json.dumps(bill, indent=2, sort_keys=True) + "\n")
    print(f"{path} lists {len(bill['components'])} components")


if __name__ == "__main__":
    raise SystemExit(main())
