"""What the tests of the chart stand on: values reach templates, notes can be read, a key that stands twice is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from chart.rendering import notes, objects, render

pytestmark = pytest.mark.chart


@pytest.fixture
def small_chart(tmp_path: Path) -> Path:
    """A chart that shows what it is given."""
    chart = tmp_path / "small"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\nkubeVersion: '>=1.28.0-0'\n")
    (chart / "values.yaml").write_text("word: default\nmore: {}\n")
    (chart / "templates" / "shown.yaml").write_text(
        "kind: Shown\nname: {{ .Release.Name }}\nnamespace: {{ .Release.Namespace }}\nword: {{ .Values.word }}\n"
        "kube: {{ .Capabilities.KubeVersion.Version }}\nmore: {{ .Values.more | toJson }}\nwhen: 2026-11-26\n"
        'known: {{ .Capabilities.APIVersions.Has "keda.sh/v1alpha1/ScaledObject" }}\n'
        "---\n# nothing\n---\nkind: Hook\nmetadata: {annotations: {helm.sh/hook: test}}\n"
    )
    (chart / "templates" / "NOTES.txt").write_text('{{ .Release.Name }} says "{{ .Values.word }}":\n  do: this\n')
    return chart


def test_values_and_release_reach_the_templates(small_chart: Path) -> None:
    """The later of two values files wins, all that a release has is as asked, and hooks are among the objects."""
    shown, hook = render(
        [{"word": "first", "more": {"a": 1}}, {"word": "second"}],
        name="n",
        namespace="ns",
        api_versions=("keda.sh/v1alpha1/ScaledObject",),
        kube_version="1.28.0",
        chart=small_chart,
    )
    assert shown == {
        "kind": "Shown", "name": "n", "namespace": "ns", "word": "second", "kube": "v1.28.0", "more": {"a": 1},
        "when": "2026-11-26", "known": True,
    }  # fmt: skip
    assert hook["kind"] == "Hook"


def test_notes_are_what_helm_would_show(small_chart: Path) -> None:
    """Their text is as the template has it, line breaks and quotes too."""
    assert notes({"word": "hello"}, name="n", chart=small_chart) == 'n says "hello":\n  do: this\n'


def test_a_key_that_stands_twice_is_found() -> None:
    """Two templates' parts that write the same key are a mistake, of which YAML readers keep one in silence."""
    with pytest.raises(AssertionError, match="labels stands twice"):
        objects("metadata:\n  labels: {a: b}\n  labels: {a: c}\n")
