"""Models by name: what is loaded, and how each mistake is named before a member is seen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from estimator import GROUPS, RaceModel
from streams.errors import GroupModelUnusable
from streams.roles.group_model import checked, load_group_model, probabilities_of
from streams.settings import Settings


def model(**changes: Any) -> SimpleNamespace:
    """A sound model of two groups, changed where the test needs it."""
    parts: dict[str, Any] = {
        "groups": ("women", "men"),
        "attributes": ("given_name",),
        "code_width": 1,
        "encode": lambda attributes: np.zeros((len(attributes["given_name"]), 1), np.uint32),
        "posterior_of_codes": lambda codes: np.full((codes.shape[0], 2), 0.5),
    }
    return SimpleNamespace(**(parts | changes))


def test_the_default_is_the_race_model() -> None:
    """Without a setting, the race model of the package is loaded, and it is a group model."""
    found = load_group_model(Settings().attach.model)
    assert isinstance(found, RaceModel)
    assert found.groups == GROUPS


def test_a_company_names_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module on PYTHONPATH and a dotted attribute of it: called without arguments, the result is the model."""
    (tmp_path / "acme_model.py").write_text(
        "import numpy as np\n"
        "class Gender:\n"
        "    groups, attributes, code_width = ('women', 'men'), ('title',), 1\n"
        "    def encode(self, attributes):\n"
        "        return np.array([[t == 'Ms'] for t in attributes['title']], np.uint32)\n"
        "    def posterior_of_codes(self, codes):\n"
        "        return np.where(codes == 1, [[0.98, 0.02]], [[0.5, 0.5]])\n"
        "    @classmethod\n"
        "    def load(cls):\n"
        "        return cls()\n"
        "NOT_CALLABLE = 3\n"
        "def needs_more(path): return Gender()\n"
    )
    (tmp_path / "acme_broken.py").write_text("import acme_nowhere\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = load_group_model("acme_model:Gender.load")
    assert found.groups == ("women", "men")
    assert probabilities_of(found, found.encode({"title": ["Ms", None]})).tolist() == [[0.98, 0.02], [0.5, 0.5]]
    for name, message in (
        ("acme_modle:Gender", "module 'acme_modle' .* cannot be imported"),
        ("acme_broken:Gender", "ModuleNotFoundError: No module named 'acme_nowhere'"),
        ("acme_model:Gander", "has no 'Gander'; expected module:attribute"),
        ("acme_model:Gender.laod", "has no 'Gender.laod'"),
        ("acme_model:NOT_CALLABLE", "is a int; expected a callable"),
        ("acme_model:needs_more", "without arguments failed .TypeError"),
        ("json:dumps", "without arguments failed"),
        ("builtins:dict", "a dict lacks groups, attributes"),
    ):
        with pytest.raises(GroupModelUnusable, match=message):
            load_group_model(name)


def _raise(codes: Any) -> Any:
    raise IndexError("out of it")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"groups": ["women", "men"]}, "expected groups"),
    ({"groups": ("women",)}, "expected groups"),
    ({"groups": ("women", "women")}, "expected groups"),
    ({"groups": ("women", "Men")}, "expected groups"),
    ({"groups": ("women", "a+b")}, "expected groups"),
    ({"groups": tuple(f"g{k}" for k in range(17))}, "expected groups"),
    ({"attributes": "given_name"}, "expected attributes"),
    ({"attributes": ("given_name", "given_name")}, "expected attributes"),
    ({"attributes": ("given_name", "self_id")}, "other than opt_out and self_id"),
    ({"code_width": 0}, "expected code_width"),
    ({"code_width": 1.0}, "expected code_width"),
    ({"code_width": 2}, r"uint32 of shape \(2, 2\) for 2 members, got uint32 of shape \(2, 1\)"),
    ({"encode": lambda attributes: np.zeros((2, 1), np.int64)}, "got int64"),
    ({"encode": lambda attributes: [[0], [0]], "posterior_of_codes": lambda codes: None}, "got a list"),
    ({"posterior_of_codes": _raise}, "give IndexError: out of it"),
    ({"posterior_of_codes": lambda codes: np.full((2, 2), 0.5, np.float32)}, "got float32"),
    ({"posterior_of_codes": lambda codes: np.full((2, 3), 0.5)}, r"got float64 of shape \(2, 3\)"),
    ({"posterior_of_codes": lambda codes: np.full((2, 2), 0.6)}, "do not sum to 1"),
    ({"posterior_of_codes": lambda codes: np.array([[1.5, -0.5]] * 2)}, "do not sum to 1"),
    ({"posterior_of_codes": lambda codes: np.full((2, 2), np.nan)}, "do not sum to 1"),
]


def test_a_sound_model_is_let_through() -> None:
    """What fulfils the protocol is used as it is."""
    sound = model()
    assert checked(sound, "m:x") is sound


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_each_breach_of_the_protocol_is_named(changes: Mapping[str, Any], message: str) -> None:
    """Names, shapes, types and sums: one line with what was expected and what came."""
    with pytest.raises(GroupModelUnusable, match=message) as caught:
        checked(model(**changes), "m:x")
    assert str(caught.value).startswith("attach.model: 'm:x' is no group model: ")


def test_what_goes_wrong_at_work_tells_no_code() -> None:
    """A model that fails later, or gives another shape, ends the role without its own words."""
    codes = np.array([[41]], np.uint32)
    with pytest.raises(GroupModelUnusable, match=r"posterior_of_codes failed with IndexError$"):
        probabilities_of(model(posterior_of_codes=_raise), codes)
    with pytest.raises(GroupModelUnusable, match=r"shape \(1, 2\), got float64 of shape \(2, 2\)"):
        probabilities_of(model(posterior_of_codes=lambda codes: np.full((2, 2), 0.5)), codes)
