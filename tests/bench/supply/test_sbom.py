"""The bill of materials: what it lists is what is locked, and it says the same twice."""

from __future__ import annotations

import json
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

from bench.supply.lock import read_lock
from bench.supply.sbom import broker_bill, runtime_bill

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_its_components_are_the_locks() -> None:
    """Name, version and every hash; none more and none less; each with its licence where the package says one."""
    lock = read_lock(ROOT / "requirements.lock")
    bill = runtime_bill(lock, PROJECT)
    listed = {
        (part["name"], part["version"], tuple(entry["content"] for entry in part["hashes"]))
        for part in bill["components"]
    }
    assert listed == {(pinned.name, pinned.version, pinned.hashes) for pinned in lock}
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])
    installed = {dist.metadata["Name"].lower().replace("_", "-").replace(".", "-") for dist in metadata.distributions()}
    without = [part["name"] for part in bill["components"] if part["name"] in installed and "licenses" not in part]
    assert without == []
    assert bill["metadata"]["component"]["name"] == "evenstream"
    assert bill["dependencies"][0]["dependsOn"] == [part["bom-ref"] for part in bill["components"]]


def test_it_is_the_same_twice() -> None:
    """No clock and no random number is in it."""
    lock = read_lock(ROOT / "requirements.lock")
    assert json.dumps(runtime_bill(lock, PROJECT)) == json.dumps(runtime_bill(lock, PROJECT))
    assert runtime_bill(lock, PROJECT)["serialNumber"] != runtime_bill(lock[1:], PROJECT)["serialNumber"]


def test_jars_are_listed_by_maven_s_own_names(tmp_path: Path) -> None:
    """A jar's note says its group; a note of another jar packed into it does not count."""
    with zipfile.ZipFile(tmp_path / "thing-core-1.2.jar", "w") as jar:
        jar.writestr("META-INF/maven/x/other/pom.properties", "groupId=x\nartifactId=other\nversion=9\n")
        jar.writestr(
            "META-INF/maven/org.thing/thing-core/pom.properties",
            "#\nversion=1.2\ngroupId=org.thing\nartifactId=thing-core",
        )
    with zipfile.ZipFile(tmp_path / "bare-3.jar", "w") as jar:
        jar.writestr("a", "")
    bill = broker_bill(tmp_path, "4.1.1")
    assert [part["purl"] for part in bill["components"]] == ["pkg:maven/bare@3", "pkg:maven/org.thing/thing-core@1.2"]
    assert all(len(part["hashes"][0]["content"]) == 64 for part in bill["components"])
