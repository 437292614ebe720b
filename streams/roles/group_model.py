"""The group model that ``attach.model`` names: loaded by name, and held to the protocol's shape before it is used.

A company may put its own model in the race model's place (``estimator.model``): "module:attribute", where the attribute
is a callable without arguments that returns the model. The module must be importable by `attach`: installed, or on
PYTHONPATH. It runs with all that attach knows, so whoever may name it may read members' attributes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.model import GROUP_NAME, GroupModel, Text
from estimator.self_id import MAX_GROUPS
from streams.errors import GroupModelUnusable

RESERVED_ATTRIBUTES = ("opt_out", "self_id")
"""Fields of `member-attributes` that mean the same under every model."""


def load_group_model(name: str) -> GroupModel:
    """Load and check a model.

    Args:
        name: "module:attribute"; the attribute may be dotted, like ``estimator:RaceModel.load``.

    Raises:
        GroupModelUnusable: there is no such module or attribute, it cannot be called so, or what it returns is no
            group model.
    """
    module_name, _, path = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the company's module raises while it is imported
        raise GroupModelUnusable(
            f"attach.model: the module {module_name!r} of {name!r} cannot be imported ({type(error).__name__}: "
            f"{error}); install it, or put its folder on PYTHONPATH"
        ) from None
    try:
        factory: Any = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise GroupModelUnusable(
            f"attach.model: the module {module_name!r} has no {path!r}; expected module:attribute, like "
            "estimator:RaceModel.load"
        ) from None
    if not callable(factory):
        raise GroupModelUnusable(
            f"attach.model: {name!r} is a {type(factory).__name__}; expected a callable without arguments that returns "
            "a group model"
        )
    try:
        model = factory()
    except Exception as error:
        raise GroupModelUnusable(
            f"attach.model: calling {name!r} without arguments failed ({type(error).__name__}: {error})"
        ) from None
    return checked(model, name)


def checked(model: Any, name: str) -> GroupModel:
    """The model, once it has been held to the protocol's shape, on two members of whom nothing is known.

    Raises:
        GroupModelUnusable: it names the part that is not as it should be.
    """
    for problem in _problems(model):
        raise GroupModelUnusable(f"attach.model: {name!r} is no group model: {problem} (see estimator/model.py)")
    return model  # type: ignore[no-any-return]  # what was checked is the protocol


def _problems(model: Any) -> Iterable[str]:
    if not isinstance(model, GroupModel):
        yield f"a {type(model).__name__} lacks groups, attributes, code_width, encode or posterior_of_codes"
    groups, attributes, width = model.groups, model.attributes, model.code_width
    if not _are_names(groups) or not 2 <= len(groups) <= MAX_GROUPS or not all(map(GROUP_NAME.fullmatch, groups)):
        yield f"expected groups, a tuple of 2 to {MAX_GROUPS} different lower-case words, got {groups!r}"
    if not _are_names(attributes) or set(attributes) & set(RESERVED_ATTRIBUTES):
        yield (
            f"expected attributes, a tuple of different fields of member-attributes other than "
            f"{' and '.join(RESERVED_ATTRIBUTES)}, got {attributes!r}"
        )
    if type(width) is not int or width < 1:
        yield f"expected code_width, a whole number from 1, got {width!r}"
    try:
        codes = model.encode({attribute: [None, ""] for attribute in attributes})
        probabilities = model.posterior_of_codes(codes)
    except Exception as error:
        yield f"two members of whom nothing is known give {type(error).__name__}: {error}"
        return
    if not _is_array(codes, (2, width), np.uint32):
        yield f"expected encode to give uint32 of shape (2, {width}) for 2 members, got {_described(codes)}"
    if not _is_array(probabilities, (2, len(groups)), np.float64):
        yield (
            f"expected posterior_of_codes to give float64 of shape (2, {len(groups)}) for 2 members, got "
            f"{_described(probabilities)}"
        )
    elif not (np.all(probabilities >= 0) and np.all(np.abs(probabilities.sum(axis=1) - 1) <= 1e-6)):
        yield "probabilities of a member of whom nothing is known are not 0 or more, or do not sum to 1"


def _are_names(names: Any) -> bool:
    return isinstance(names, tuple) and all(isinstance(n, str) and n for n in names) and len(set(names)) == len(names)


def _is_array(value: Any, shape: tuple[int, ...], dtype: type) -> bool:
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype


def _described(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


# -- at work ---------------------------------------------------------------------------------------------------------


def codes_of(model: GroupModel, attributes: Mapping[str, Text], count: int) -> NDArray[np.uint32]:
    """Codes of ``count`` members, shape (count, code_width).

    Raises:
        GroupModelUnusable: the model fails or gives something else. What it says itself is left out: it has seen
            members' attributes.
    """
    try:
        codes = model.encode(attributes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an extension's panic is no Exception, and its message says what it was given
        raise GroupModelUnusable(f"the group model's encode failed with {type(error).__name__}") from None
    return _held(codes, (count, model.code_width), np.uint32, "encode")


def probabilities_of(model: GroupModel, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Probabilities of coded members, shape (n, k), a fresh array; whoever asked overwrites it after use.

    Raises:
        GroupModelUnusable: the model fails or gives something else. What it says itself is left out.
    """
    try:
        probabilities = model.posterior_of_codes(codes)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an extension's panic is no Exception, and its message says what it was given
        raise GroupModelUnusable(f"the group model's posterior_of_codes failed with {type(error).__name__}") from None
    return _held(probabilities, (codes.shape[0], len(model.groups)), np.float64, "posterior_of_codes")


def _held(value: NDArray[Any], shape: tuple[int, ...], dtype: type, method: str) -> NDArray[Any]:
    if not _is_array(value, shape, dtype):
        raise GroupModelUnusable(
            f"expected the group model's {method} to give {np.dtype(dtype)} of shape {shape}, got {_described(value)}"
        )
    return value
