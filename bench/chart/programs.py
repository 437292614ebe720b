"""Helm and helm-docs on a developer's machine: what is there, or built once from their Go modules into a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from streams.errors import PrerequisiteMissing
from streams.kafka.dev_jars import cache_folder

HELM_VERSION = "v3.22.0"
HELM_DOCS_VERSION = "v1.14.2"
CONTROLLER_GEN_VERSION = "v0.19.0"


def _silent(_line: str) -> None:
    """Tells nobody."""


def find_helm(progress: Callable[[str], None] = _silent) -> str:
    """The path of Helm 3: ``$HELM``, else one on the PATH, else the cached one, which is built the first time.

    Raises:
        PrerequisiteMissing: ``$HELM`` is no program, or there is no Helm, and no Go that could build it.
    """
    named = os.environ.get("HELM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise PrerequisiteMissing(
                f"HELM is {named}, which is no program: set it to the path of Helm 3, or unset it"
            )
        return found
    return next((path for path in _installed() if _is_helm_3(path)), None) or _built(
        "helm.sh/helm/v3/cmd/helm", HELM_VERSION, "Helm 3", "HELM", progress
    )


def _installed() -> Iterator[str]:
    on_path = shutil.which("helm")
    if on_path:
        yield on_path
    # The Kubernetes control plane of the chart's tests on a live API server keeps one of the same version.
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evenstream-kube"
    root = Path(os.environ.get("CONTROL_PLANE_CACHE") or root)
    yield from map(str, root.glob(f"*_helm-{HELM_VERSION}/helm"))


@lru_cache
def _is_helm_3(path: str) -> bool:
    told = subprocess.run([path, "version", "--template", "{{.Version}}"], capture_output=True, text=True, check=False)
    return told.returncode == 0 and told.stdout.startswith("v3.")


def find_helm_docs(progress: Callable[[str], None] = _silent) -> str:
    """The path of helm-docs: ``$HELM_DOCS``, else the cached one, which is built the first time.

    Not one on the PATH: what it writes is committed, and differs from version to version.

    Raises:
        PrerequisiteMissing: there is no Go that could build it.
    """
    package = "github.com/norwoodj/helm-docs/cmd/helm-docs"
    return os.environ.get("HELM_DOCS") or _built(package, HELM_DOCS_VERSION, "helm-docs", "HELM_DOCS", progress)


def find_controller_gen(progress: Callable[[str], None] = _silent) -> str:
    """The path of controller-gen, which makes CRDs from Go types; built the first time.

    Raises:
        PrerequisiteMissing: there is no Go that could build it.
    """
    package = "sigs.k8s.io/controller-tools/cmd/controller-gen"
    return _built(package, CONTROLLER_GEN_VERSION, "controller-gen", "PATH to Go", progress)


def _built(package: str, version: str, what: str, variable: str, progress: Callable[[str], None]) -> str:
    name = package.rpartition("/")[2]
    program = cache_folder().parent / f"{name}-{version}" / name
    if program.exists():
        return str(program)
    go = shutil.which("go")
    if go is None:
        raise PrerequisiteMissing(f"{what} is not here, and no Go that could build it: install Go, or set {variable}")
    progress(f"building {what} {version} from its Go module (once; minutes where Go's own cache is empty) ...")
    program.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent.parent, prefix="partial-") as partial:
        environment = os.environ | {"GOBIN": partial, "CGO_ENABLED": "0"}
        done = subprocess.run(
            [go, "install", f"{package}@{version}"], env=environment, cwd=partial, capture_output=True, text=True
        )
        if done.returncode != 0:
            tail = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise PrerequisiteMissing(
                f"Go could not build {what}. Check its network (`go env GOPROXY`). It said:\n{tail}"
            )
        program.parent.mkdir(exist_ok=True)
        (Path(partial) / name).replace(program)  # whole at once: another process may be building it too
    return str(program)


if __name__ == "__main__":
    print(f"helm: {find_helm(print)}")
