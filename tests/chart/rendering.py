"""What `helm template` makes of the chart with given values, as objects; or what it says where it refuses them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bench.chart.programs import find_helm

CHART = Path(__file__).parents[2] / "helm" / "evenstream"
KUBE_VERSION = "1.34.0"

Values = Mapping[str, Any]


class Refused(Exception):
    """Helm rendered nothing; the message is what it wrote to standard error."""


class _Loader(yaml.CSafeLoader):
    """Reads YAML as an API server does that is told to be strict: a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise AssertionError(f"{', '.join(twice)} stands twice in one object:{node.start_mark}")
        return super().construct_mapping(node, deep)


# A date stays the text that it is, as in Go's YAML.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def objects(text: str) -> list[dict[str, Any]]:
    """The documents of a manifest that are not empty."""
    return [document for document in yaml.load_all(text, _Loader) if document]


def render(
    values: Values | Sequence[Values],
    *,
    name: str = "fair",
    namespace: str = "fairness",
    api_versions: Sequence[str] = (),
    kube_version: str = KUBE_VERSION,
    chart: Path = CHART,
) -> list[dict[str, Any]]:
    """Every object of a release, hooks and tests among them, in Helm's order.

    Args:
        values: one values file, or several, of which the later win.
        api_versions: what the cluster knows besides Kubernetes' own, such as "monitoring.coreos.com/v1/PodMonitor".

    Raises:
        Refused: Helm renders nothing of these values.
    """
    versions = [word for version in api_versions for word in ("--api-versions", version)]
    words = ["template", name, str(chart), "--namespace", namespace, "--kube-version", kube_version, *versions]
    return objects(helm(words, values))


def refusal(values: Values | Sequence[Values], **release: Any) -> str:
    """What Helm says of values that the chart refuses; that it takes them is a failure. ``release``: as ``render``."""
    try:
        made = render(values, **release)
    except Refused as refused:
        return str(refused)
    raise AssertionError(f"expected a refusal, and {len(made)} objects were rendered")


def notes(values: Values | Sequence[Values], *, chart: Path = CHART, **release: Any) -> str:
    """What NOTES.txt says to whoever installs the chart with these values. ``release``: as ``render``.

    Helm shows notes where there is a cluster only, so here a copy of the chart has them as one more template.
    """
    with tempfile.TemporaryDirectory(prefix="notes-") as folder:
        copy = Path(folder) / chart.name
        shutil.copytree(chart, copy)
        text = (copy / "templates" / "NOTES.txt").read_text()
        (copy / "templates" / "shown-notes.yaml").write_text(
            '{{- define "shown.notes" }}' + text + "{{ end -}}\nkind: ShownNotes\n"
            'text: {{ include "shown.notes" . | toJson }}\n'
        )
        (shown,) = (one for one in render(values, chart=copy, **release) if one["kind"] == "ShownNotes")
    return str(shown["text"])


def helm(words: Sequence[str], values: Values | Sequence[Values] = ()) -> str:
    """What one command of Helm prints; it knows no cluster, and keeps nothing.

    Raises:
        Refused: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="helm-") as folder:
        options = []
        for number, one in enumerate([values] if isinstance(values, Mapping) else values):
            file = Path(folder) / f"values-{number}.yaml"
            file.write_text(yaml.safe_dump(dict(one)))
            options += ["--values", str(file)]
        homes = {f"HELM_{kind}_HOME": f"{folder}/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        environment = os.environ | homes | {"KUBECONFIG": os.devnull}
        done = subprocess.run(
            [_program(), *words, *options], env=environment, capture_output=True, text=True, timeout=60
        )
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return done.stdout


@lru_cache
def _program() -> str:
    return find_helm()
