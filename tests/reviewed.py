"""What a spec must say before it can be approved, for tests whose subject is something else."""

from __future__ import annotations

REVIEW = """
review:
  owner: the tests
  harm_considered: none, nobody is measured
  data_used: made-up members
  retention: as long as the test runs
"""
REVIEWED = REVIEW + "expires: 2100-01-01T00:00:00Z\n"
"""Ends with a newline; lines to append to a spec's YAML. It ends in 2100."""
EXPIRES_MS = 4_102_444_800_000
"""The same end, epoch milliseconds."""
