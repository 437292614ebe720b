"""How many examples Hypothesis draws in a test that does not take the profile's number."""

from __future__ import annotations

import hypothesis


def examples(count: int) -> hypothesis.settings:
    """So many examples in `make test`, and a quarter of them in `make check`: as the profiles of tests/conftest.py."""
    full, quick = (hypothesis.settings.get_profile(name).max_examples for name in ("full", "quick"))
    is_quick = hypothesis.settings().max_examples == quick
    return hypothesis.settings(max_examples=max(count * quick // full, 5) if is_quick else count)
