"""A real Kubernetes control plane for a test: `control-plane` of the shared folder, or where CONTROL_PLANE is.

The API server, its admission and the controllers are the real ones; nodes and containers are pretended (its README).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chart.pod_process import REPOSITORY, Json

PROGRAM = Path(os.environ.get("CONTROL_PLANE", REPOSITORY.parent / "shared" / "kube" / "control-plane"))
CHART = REPOSITORY / "helm" / "evenstream"
_SECONDS = 300


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    environment: dict[str, str]

    def run(self, *command: str, feed: str | None = None, check: bool = True) -> str:
        """What a command prints; where it fails, the test does, with its words."""
        done = subprocess.run(
            command, env=self.environment, input=feed, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *arguments: str, feed: str | None = None) -> str:
        """What kubectl prints."""
        return self.run("kubectl", *arguments, feed=feed)

    def helm(self, *arguments: str) -> str:
        """What Helm prints."""
        return self.run("helm", *arguments)

    def apply(self, *objects: Json) -> None:
        """Put objects into the cluster."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--filename", "-", feed=json.dumps(listed))

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """One object, as it is stored."""
        found: Json = json.loads(self.kubectl("get", kind, name, "--namespace", namespace, "--output", "json"))
        return found

    def all_of(self, kinds: str, namespace: str) -> list[Json]:
        """All objects of some kinds in a namespace."""
        found: list[Json] = json.loads(self.kubectl("get", kinds, "--namespace", namespace, "--output", "json"))[
            "items"
        ]
        return found

    def stored(self, manifest: Json) -> Json:
        """An object as the API server would store it: defaults filled in, admission passed. Nothing is kept."""
        found: Json = json.loads(
            self.kubectl("create", "--dry-run=server", "--output", "json", "--filename", "-", feed=json.dumps(manifest))
        )
        return found

    def token(self, namespace: str, account: str, seconds: int) -> str:
        """A token of a service account, as a kubelet asks for one."""
        return self.kubectl(
            "create", "token", account, "--namespace", namespace, "--duration", f"{seconds}s"
        ).strip()  # fmt: skip

    def api_server(self) -> dict[str, str]:
        """Where containers find the API server: what a kubelet puts into their environment."""
        address = self.kubectl("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
        host, _, port = address.removeprefix("https://").partition(":")
        return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}

    def make_namespace(self, name: str) -> None:
        """A namespace that takes no pod beyond Pod Security's `restricted`."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def make_secret(self, namespace: str, name: str, **content: str | bytes) -> None:
        """A Secret; underscores in names of keys are dots."""
        data = {
            key.replace("__", "."): base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
            for key, value in content.items()
        }
        self.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}
        )


def is_built() -> bool:
    """Whether its programs are there: `control-plane build` makes them, once, in a quarter of an hour."""
    if not PROGRAM.is_file():
        return False
    words = subprocess.run([str(PROGRAM), "env", "/"], capture_output=True, text=True, check=True).stdout
    folder = words.partition(" PATH=")[2].partition(":")[0]
    return Path(folder, "kube-apiserver").exists()


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster of its own, empty."""
    subprocess.run([str(PROGRAM), "start", str(folder)], check=True, capture_output=True, text=True)
    try:
        words = subprocess.run([str(PROGRAM), "env", str(folder)], check=True, capture_output=True, text=True).stdout
        shown = subprocess.run(["bash", "-c", f"{words}\nenv -0"], check=True, capture_output=True, text=True).stdout
        cluster = Cluster(dict(line.split("=", 1) for line in shown.split("\0") if "=" in line))
        try:
            yield cluster
        finally:
            # The cluster's volumes are folders of this machine, which go with their claims, and these with their pods.
            kinds = "statefulsets,deployments,pods,persistentvolumeclaims"
            everything = ("--all", "--all-namespaces", "--ignore-not-found", "--timeout=60s")
            cluster.run("kubectl", "delete", kinds, *everything, check=False)
            cluster.run("kubectl", "wait", "--for=delete", "persistentvolumes", "--all", "--timeout=30s", check=False)
    finally:
        subprocess.run([str(PROGRAM), "stop", str(folder)], check=True, capture_output=True, text=True)
