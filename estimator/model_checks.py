"""The conformance test of a group model: what :class:`estimator.GroupModel` demands, tried on examples.

Whoever writes a model of their own calls :func:`check_model` in a test of theirs, with attributes as their members have
them, the odd ones included. It needs no test framework, draws nothing at random and prints nothing; an error names the
rule that is broken, and never an attribute or a probability.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from estimator.errors import ModelBroken
from estimator.model import GROUP_NAME, GroupModel, Text
from estimator.self_id import MAX_GROUPS

_TOLERANCE = 1e-9
_GROUPS = (2, MAX_GROUPS)

Attributes = Mapping[str, Text]


def check_model(model: GroupModel, examples: Attributes) -> None:
    """Try every rule of the protocol on a model.

    Args:
        model: what is checked.
        examples: for every field of ``model.attributes``, a column of the same n entries, 2 or more; the more kinds of
            people are among them, the more is tried.

    Raises:
        ModelBroken: a rule is broken; the message begins with its name.
        ValueError: the examples are too few, or a column is missing or of another length.
    """
    _check_names(model)
    columns = {name: list(column) for name, column in examples.items()}
    count = _checked_examples(model, columns)
    codes = _check_codes(model, columns, count)
    rows = _check_rows(model, codes)
    _check_determinism(model, columns, codes, rows)
    _check_independence(model, columns, codes, rows)
    _check_missing(model, columns, count)
    _check_fresh(model, np.concatenate((codes[1:], codes)))


def _require(holds: object, rule: str, expected: str) -> None:
    if not holds:
        raise ModelBroken(f"{rule}: {expected}")


def _check_names(model: GroupModel) -> None:
    _require(
        isinstance(model, GroupModel),
        "protocol",
        "a model has groups, attributes, code_width, encode and posterior_of_codes (estimator.GroupModel)",
    )
    groups, attributes = model.groups, model.attributes
    low, high = _GROUPS
    _require(isinstance(groups, tuple), "group names", "groups must be a tuple")
    _require(low <= len(groups) <= high, "group names", f"there must be {low} to {high} groups, not {len(groups)}")
    _require(len(set(groups)) == len(groups), "group names", "groups must be different")
    _require(
        all(isinstance(name, str) and GROUP_NAME.fullmatch(name) for name in groups),
        "group names",
        "each must be a lower-case word: letters a to z, digits and underscores, a letter first",
    )
    _require(
        isinstance(attributes, tuple) and attributes and len(set(attributes)) == len(attributes),
        "attributes",
        "attributes must be a tuple of one or more different field names",
    )
    _require(
        isinstance(model.code_width, int) and model.code_width >= 1,
        "code width",
        "it must be a whole number, 1 or more",
    )


def _checked_examples(model: GroupModel, columns: Mapping[str, list[str | None]]) -> int:
    missing = [name for name in model.attributes if name not in columns]
    if missing:
        raise ValueError(f"the examples must have a column for every attribute; {', '.join(missing)} is missing")
    lengths = {len(columns[name]) for name in model.attributes}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(f"the examples' columns must have one length, 2 or more, not {sorted(lengths)}")
    return lengths.pop()


def _check_codes(model: GroupModel, columns: Attributes, count: int) -> NDArray[np.uint32]:
    codes = model.encode(columns)
    _require(isinstance(codes, np.ndarray) and codes.dtype == np.uint32, "code dtype", "encode must return uint32")
    _require(
        codes.shape == (count, model.code_width),
        "code shape",
        f"expected {(count, model.code_width)} for {count} members, got {codes.shape}",
    )
    nobody = model.encode({name: [] for name in model.attributes})
    _require(nobody.shape == (0, model.code_width), "code shape", f"no members must give no codes, got {nobody.shape}")
    return codes


def _check_rows(model: GroupModel, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
    kept, groups = codes.copy(), len(model.groups)
    rows = model.posterior_of_codes(codes)
    _require(np.array_equal(codes, kept), "codes kept", "posterior_of_codes must leave the codes as they are")
    _require(isinstance(rows, np.ndarray) and rows.dtype == np.float64, "dtype", "probabilities must be float64")
    _require(rows.shape == (len(codes), groups), "shape", f"expected {(len(codes), groups)}, got {rows.shape}")
    _require(np.all(np.isfinite(rows)), "numbers", "every probability must be a finite number")
    _require(np.all(rows >= 0), "not negative", "no probability may be below 0")
    _require(
        np.all(np.abs(rows.sum(axis=1) - 1) <= _TOLERANCE), "sum", f"every row must sum to 1, within {_TOLERANCE:g}"
    )
    empty = model.posterior_of_codes(codes[:0])
    _require(empty.shape == (0, groups), "shape", f"no codes must give {(0, groups)}, got {empty.shape}")
    return rows.copy()


def _check_determinism(
    model: GroupModel, columns: Attributes, codes: NDArray[np.uint32], rows: NDArray[np.float64]
) -> None:
    rule, why = "determinism", "the same members must have the same {} every time, to the last bit"
    _require(np.array_equal(model.encode(columns), codes), rule, why.format("codes"))
    _require(np.array_equal(model.posterior_of_codes(codes), rows), rule, why.format("probabilities"))


def _check_independence(
    model: GroupModel, columns: Attributes, codes: NDArray[np.uint32], rows: NDArray[np.float64]
) -> None:
    """Each row alone, and all in reverse, must be what it was among the others."""
    rule = "independence"
    turned = {name: list(column)[::-1] for name, column in columns.items()}
    _require(np.array_equal(model.encode(turned)[::-1], codes), rule, "codes must not depend on the order of members")
    _require(
        np.array_equal(model.posterior_of_codes(np.ascontiguousarray(codes[::-1]))[::-1], rows),
        rule,
        "probabilities must not depend on the order of rows, to the last bit",
    )
    for k in range(len(codes)):
        alone = model.encode({name: [column[k]] for name, column in columns.items()})
        _require(np.array_equal(alone[0], codes[k]), rule, "a member's code must not depend on who else is there")
        _require(
            np.array_equal(model.posterior_of_codes(alone)[0], rows[k]),
            rule,
            "a row's probabilities must not depend on the other rows, to the last bit",
        )


def _check_missing(model: GroupModel, columns: Attributes, count: int) -> None:
    """Whatever is missing, alone or together, there is a row; nothing known has the code 0."""
    width = model.code_width
    for nothing in (None, ""):
        unknown = model.encode({name: [nothing] for name in model.attributes})
        _require(unknown.shape == (1, width) and not unknown.any(), "nothing known", "its code must be all zeros")
        for name in model.attributes:
            _check_rows(model, model.encode({**columns, name: [nothing] * count}))
    _check_rows(model, np.zeros((1, width), dtype=np.uint32))


def _check_fresh(model: GroupModel, codes: NDArray[np.uint32]) -> None:
    """Whoever asked overwrites what he got: that must change nothing for anyone.

    The codes are a batch that the model has not answered yet: what it keeps of a first answer is found as well.
    """
    rule = "fresh array"
    first = model.posterior_of_codes(codes)
    _require(first.flags.writeable, rule, "it must be writeable, so that it can be wiped after use")
    expected = first.copy()
    second = model.posterior_of_codes(codes)
    _require(not np.shares_memory(first, second), rule, "two answers must not share memory")
    first.fill(0)
    second.fill(0)
    _require(
        np.array_equal(model.posterior_of_codes(codes), expected), rule, "overwriting it must not change the model"
    )
