"""The schemas of the operators' resources that the chart can render: ``python -m bench.chart.crds``.

Writes tests/chart/crds: CustomResourceDefinitions as an API server takes them, each with the one version that the chart
uses and without descriptions. They come from what the projects publish as packages, by version and hash: Go modules,
which carry them or the Go types that controller-gen makes them from, and Strimzi's api jar (``StrimziCrds.java``). All
four projects are under the Apache License 2.0. Needs Go; for Strimzi Java 17 with its compiler, and Maven.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.chart.programs import find_controller_gen

FOLDER = Path(__file__).parents[2] / "tests" / "chart" / "crds"
STRIMZI_VERSION = "0.51.0"
_STRIMZI_SHA256 = "219b54d570c408523f62bffc999041c64ea926afbc784be942290709fbbcde62"
_ANNOTATIONS = {
    "Minimum": "int",
    "Maximum": "int",
    "Pattern": "String",
    "PresentInVersions": "String",
    "RequiredInVersions": "String",
}


@dataclass(frozen=True)
class Module:
    """A Go module: its version and Go's own hash of it; the files of CRDs in it, or the package of types; the version
    of the resources that the chart uses."""

    path: str
    version: str
    sum: str
    uses: str
    files: tuple[str, ...] = ()
    types: str | None = None
    kinds: tuple[str, ...] = ()


MODULES = (
    Module(
        "github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=", "v1alpha1",
        files=("config/crd/bases/keda.sh_scaledobjects.yaml",),
    ),
    Module(
        "github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=", "v1",
        files=("deploy/crds/cert-manager.io_certificates.yaml",),
    ),
    Module(
        "github.com/external-secrets/external-secrets", "v1.3.2", "h1:u2J8RjlHIeF0oZCqtl92adI/uZWUwOesJIDkfql6LqQ=",
        "v1", files=("config/crds/bases/external-secrets.io_externalsecrets.yaml",),
    ),
    Module(
        "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring", "v0.95.2",
        "h1:DQKGQhE39ua9V+ZCro38z32jP8nAtIZ27f3qdAorXHg=", "v1",
        types="./v1", kinds=("podmonitors", "servicemonitors", "prometheusrules"),
    ),
)  # fmt: skip


def main() -> None:
    """Write all of them anew."""
    with tempfile.TemporaryDirectory(prefix="crds-") as folder:
        work = Path(folder)
        for module in MODULES:
            for document in _of_module(module, work):
                _write(trimmed(document, module.uses), f"{module.path}@{module.version}")
        for document in _of_strimzi(work):
            _write(document, f"io.strimzi:api:{STRIMZI_VERSION}, by bench/chart/StrimziCrds.java")


def _write(document: dict[str, Any], source: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = document["metadata"]["name"]
    head = f"# Written by `python -m bench.chart.crds` from {source}\n# (Apache License 2.0).\n"
    text = head + yaml.safe_dump(document, sort_keys=False, width=120)
    (FOLDER / f"{name}.yaml").write_text(text)
    print(f"{name}: {len(text):,} bytes")


def trimmed(document: dict[str, Any], version: str) -> dict[str, Any]:
    """A definition with one version, which is served and stored, and without descriptions."""
    spec = document["spec"]
    (one,) = (each for each in spec["versions"] if each["name"] == version)
    schema = _undescribed(one["schema"]["openAPIV3Schema"])
    subresources = {"subresources": one["subresources"]} if "subresources" in one else {}
    return _definition(spec["group"], spec["names"], version, schema, subresources)


def _definition(
    group: str, names: dict[str, Any], version: str, schema: dict[str, Any], subresources: dict[str, Any]
) -> dict[str, Any]:
    only = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}} | subresources
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [only]},
    }


def _undescribed(schema: Any) -> Any:
    """A schema without its descriptions; a property may be named so too."""
    if isinstance(schema, list):
        return [_undescribed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {key: _undescribed(each) for key, each in value.items()} if name == "properties" else _undescribed(value)
        for name, value in schema.items()
        if name != "description"
    }


def _of_module(module: Module, work: Path) -> Iterator[dict[str, Any]]:
    asked = ["go", "mod", "download", "-json", f"{module.path}@{module.version}"]
    told = json.loads(subprocess.run(asked, cwd=work, capture_output=True, text=True, check=True).stdout)
    if told["Sum"] != module.sum:
        raise SystemExit(f"{module.path}@{module.version} has the hash {told['Sum']}, expected {module.sum}")
    folder = Path(told["Dir"])
    for name in module.files:
        yield yaml.safe_load((folder / name).read_text())
    if module.types is None:
        return
    copy, made = work / "types", work / "made"
    shutil.copytree(folder, copy)  # Go's own copy is read-only, and may not gain a go.sum
    copy.chmod(0o755)
    generator = find_controller_gen(print)
    subprocess.run(
        [generator, "crd:crdVersions=v1", f"paths={module.types}", f"output:dir={made}"], cwd=copy, check=True
    )
    for kind in module.kinds:
        (found,) = made.glob(f"*_{kind}.yaml")
        yield yaml.safe_load(found.read_text())


def _of_strimzi(work: Path) -> Iterator[dict[str, Any]]:
    libs, sources, classes = work / "libs", work / "sources", work / "classes"
    artifact = "<groupId>io.strimzi</groupId><artifactId>api</artifactId>"
    (work / "pom.xml").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>dev.evenstream</groupId><artifactId>crds</artifactId>"
        "<version>1</version><packaging>pom</packaging><dependencies><dependency>"
        f"{artifact}<version>{STRIMZI_VERSION}</version></dependency></dependencies></project>"
    )
    copying = ["mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={libs}", "-DincludeScope=runtime"]
    subprocess.run(copying, cwd=work, check=True)
    digest = hashlib.sha256((libs / f"api-{STRIMZI_VERSION}.jar").read_bytes()).hexdigest()
    if digest != _STRIMZI_SHA256:
        raise SystemExit(f"api-{STRIMZI_VERSION}.jar has the hash {digest}, expected {_STRIMZI_SHA256}")
    package = sources / "io" / "strimzi" / "crdgenerator" / "annotations"
    package.mkdir(parents=True)
    for name, of in _ANNOTATIONS.items():
        (package / f"{name}.java").write_text(
            "package io.strimzi.crdgenerator.annotations;\nimport java.lang.annotation.*;\n"
            f"@Retention(RetentionPolicy.RUNTIME) public @interface {name} {{ {of} value(); }}\n"
        )
    program = Path(__file__).with_name("StrimziCrds.java")
    files = [*package.glob("*.java"), program]
    subprocess.run(["javac", "-d", classes, "-cp", f"{libs}/*", *files], check=True)
    subprocess.run(["java", "-cp", f"{classes}:{libs}/*", program.stem, work], check=True, stderr=subprocess.DEVNULL)
    for kind in ("KafkaTopic", "KafkaUser"):
        names = {"kind": kind, "listKind": f"{kind}List", "plural": f"{kind.lower()}s", "singular": kind.lower()}
        schema = json.loads((work / f"{kind}.json").read_text())
        yield _definition("kafka.strimzi.io", names, "v1", schema, {"subresources": {"status": {}}})


if __name__ == "__main__":
    main()
