"""Where Helm comes from: the one that is named, else the one that is there; and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chart.programs import HELM_VERSION, find_helm, find_helm_docs
from streams.errors import PrerequisiteMissing


def _program(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nprintf %s '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Helm and Go: an empty PATH, and empty caches."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("EVENSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CONTROL_PLANE_CACHE", str(tmp_path / "plane"))
    monkeypatch.delenv("HELM", raising=False)
    monkeypatch.delenv("HELM_DOCS", raising=False)
    return tmp_path


def test_without_helm_and_go(nothing_here: Path) -> None:
    """What is missing is one sentence that names what to install or to set."""
    with pytest.raises(PrerequisiteMissing, match=r"Helm 3 is not here, and no Go .* install Go, or set HELM"):
        find_helm()
    with pytest.raises(PrerequisiteMissing, match=r"helm-docs is not here, and no Go .* or set HELM_DOCS"):
        find_helm_docs()


def test_a_named_helm_is_taken(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$HELM goes before all others, and one that is no program is said, not passed over."""
    _program(nothing_here / "bin" / "helm", "v3.0.0")
    named = _program(nothing_here / "mine" / "helm", "v3.0.0")
    monkeypatch.setenv("HELM", str(named))
    assert find_helm() == str(named)
    monkeypatch.setenv("HELM", str(nothing_here / "none"))
    with pytest.raises(PrerequisiteMissing, match=r"HELM is .*none, which is no program"):
        find_helm()


def test_another_major_version_is_passed_over(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Helm 4 on the PATH is not taken where the control plane's Helm 3 is there; any Helm 3 on the PATH is."""
    _program(nothing_here / "bin" / "helm", "v4.0.1")
    kept = _program(nothing_here / "plane" / f"kubernetes-v1_helm-{HELM_VERSION}" / "helm", HELM_VERSION)
    assert find_helm() == str(kept)
    another = _program(nothing_here / "other" / "helm", "v3.18.0")
    monkeypatch.setenv("PATH", str(another.parent))
    assert find_helm() == str(another)


def test_what_was_built_before_is_taken(nothing_here: Path) -> None:
    """The cache is used without Go."""
    built = _program(nothing_here / "cache" / f"helm-{HELM_VERSION}" / "helm", HELM_VERSION)
    assert find_helm() == str(built)
