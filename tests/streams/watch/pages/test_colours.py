"""The pages' colours, computed: contrast as WCAG 2.2 has it, and what is left of differences for colour-blind readers.

Nothing is told by colour alone; these hold that whoever sees colours, however few, is helped by them.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.watch import drawing
from streams.watch.pages import assets, words

CSS = (Path(assets.__file__).parent / "evenstream.css").read_text()
GROUNDS = ("ground", "raised")
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def schemes() -> dict[str, dict[str, str]]:
    """The style's colours by scheme and name."""
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", part)) for part in re.findall(r":root \{(.*?)\}", CSS, re.S)
    )
    return {"light": light, "dark": light | dark}


def linear(colour: str) -> NDArray[np.float64]:
    """Linear RGB, shape (3,), of #rrggbb (IEC 61966-2-1)."""
    values = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """The contrast ratio, from 1 to 21."""
    lights = sorted(float(linear(colour) @ (0.2126, 0.7152, 0.0722)) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* (D65), shape (3,), of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    relative = np.clip(to_xyz @ rgb / (0.9505, 1.0, 1.089), 0, None)
    f = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str, deficiency: str) -> float:
    """How far two colours are apart (CIE 1976) for who sees them so."""
    seen = [lab(np.clip(np.array(DEFICIENCIES[deficiency]) @ linear(colour), 0, 1)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out(scheme: str) -> None:
    """Text has 4.5 on each ground it stands on, and what carries meaning without text 3 (WCAG 1.4.3, 1.4.11)."""
    colour = schemes()[scheme]
    texts = [(name, ground) for name in ("text", "quiet", "link") for ground in GROUNDS]
    texts += [("text", "notice-ground"), ("text", "promise-ground"), ("suppressed", "ground")]
    texts += [(name, "ground") for name in ("published", "alarm", "void")]  # marks bear a sign in the ground's colour
    marks = [(name, "ground") for name in ("edge", "withdrawn", "notice", "promise", "alarm", "link")]
    faint = {f"{one} on {other}": contrast(colour[one], colour[other]) for one, other in texts}
    assert {what: ratio for what, ratio in faint.items() if ratio < 4.5} == {}
    faint = {f"{one} on {other}": contrast(colour[one], colour[other]) for one, other in marks}
    assert {what: ratio for what, ratio in faint.items() if ratio < 3} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_windows_are_told_apart_without_all_colours(scheme: str, deficiency: str) -> None:
    """A published window, one with an alarm, and a void one look different, and each has a sign of its own."""
    colour = schemes()[scheme]
    for one, other in itertools.combinations(("published", "alarm", "void"), 2):
        assert distance(colour[one], colour[other], deficiency) > 20, (one, other)
    signs = [sign for _, sign in words.STATUS.values()]
    assert len(set(signs)) == len(signs)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_of_charts_are_told_apart(theme: str) -> None:
    """Each line stands out on its ground; five groups differ for all readers; markers and dashes say it again."""
    shown = drawing._THEMES[theme]
    for colour in (*shown.colours, shown.limit, shown.alarm, shown.text):
        assert contrast(colour, shown.ground) >= 3
    for deficiency in DEFICIENCIES:
        for one, other in itertools.combinations(shown.colours[:5], 2):
            assert distance(one, other, deficiency) > 10, (one, other, deficiency)
    assert len(set(drawing._MARKERS)) == len(drawing._MARKERS) >= len(shown.colours)
    assert len(set(map(str, drawing._LINES[:6]))) == 6
