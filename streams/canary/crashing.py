"""A role that fails, amid a batch, with members' data in its hands; what it then says is what the canary searches.

    python -m streams.canary.crashing ROLE HANDED [global options] COMMAND ...

The role that runs is the product's; one of its functions is replaced from outside by one that raises what a careless
library would: an exception whose message holds its arguments. `attach` fails through its own door instead, by a group
model (``attach.model``), which panics as an extension in Rust does: an exception that is no ``Exception``. What a party
had in its hands is written to the file HANDED, so that it can be looked for as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator import GROUPS, RaceModel

WORDS = "canary crash"
"""In every message that is raised here: where it is found, the message was printed."""


class Panic(BaseException):
    """What an extension's panic looks like in Python: no ``Exception``, and its message says what it was given."""


class PanickingModel:
    """The race model, which remembers the names that it sees, and panics with them when it is asked for numbers."""

    groups = GROUPS
    code_width = RaceModel.code_width

    def __init__(self) -> None:
        self._model = RaceModel.load()
        self.attributes = self._model.attributes
        self._seen: list[object] = []

    def encode(self, attributes: Mapping[str, Sequence[str | None]]) -> NDArray[np.uint32]:
        """Code members, and keep what they are called."""
        self._seen += [[value for value in column if value] for column in attributes.values()]
        return self._model.encode(attributes)

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Panic, once somebody is asked for of whom something is known."""
        probabilities = self._model.posterior_of_codes(codes)
        if codes.any():
            raise Panic(f"{WORDS}: {self._seen} {probabilities.tolist()} {probabilities.tobytes()!r}")
        return probabilities


def _fail_in_seal() -> None:
    from streams.roles.batching import Batcher

    def add(self: Batcher, *arguments: Any) -> None:
        raise ValueError(f"{WORDS}: {[value.tolist() for value in arguments if isinstance(value, np.ndarray)]}")

    Batcher.add = add  # type: ignore[method-assign, assignment]


def _fail_in_attach() -> None:
    from streams.roles import attach

    def to_fixed_point(probabilities: Any, scale: int = 0) -> Any:
        raise RuntimeError(f"{WORDS}: {probabilities.tolist()} {probabilities.tobytes()!r}")

    attach.to_fixed_point = to_fixed_point  # type: ignore[attr-defined]


def _fail_in_a_party(handed: Path) -> None:
    from streams.roles.windows import OpenWindows

    def fold(self: OpenWindows, approved: Any, end_ms: int, values: Any, cells: Any, tail: Any, **more: Any) -> None:
        handed.write_text(json.dumps(values.tolist()))
        raise KeyError(f"{WORDS}: {values.tolist()} {cells.tolist()}")

    OpenWindows.fold = fold  # type: ignore[method-assign]


def main(role: str, handed: str, *arguments: str) -> None:
    """Run a role that will fail."""
    from streams.cli import main as evenstream

    if role == "seal":
        _fail_in_seal()
    elif role == "attach":
        _fail_in_attach()
    elif role in ("a", "b"):
        _fail_in_a_party(Path(handed))
    evenstream(args=list(arguments), prog_name="evenstream")


if __name__ == "__main__":
    main(*sys.argv[1:])
