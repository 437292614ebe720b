"""A group model that hangs when a test says so: the race model, until the file that HANG_AT names is there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from estimator import RaceModel


class HangingModel(RaceModel):
    """Takes the file away, so that the next process does not hang, and never comes back."""

    def posterior_of_codes(self, codes: NDArray[np.uint32]) -> NDArray[np.float64]:
        """As the race model's."""
        flag = Path(os.environ["HANG_AT"])
        if flag.exists():
            flag.unlink()
            threading.Event().wait()
        return super().posterior_of_codes(codes)
