"""The six groups of the Census, in the order of every six-vector in this project."""

from __future__ import annotations

GROUPS = ("white", "black", "api", "hispanic", "native", "multiple")
"""Columns. "hispanic" is Hispanic of any race, the other five are not Hispanic; "api" is Asian, Native Hawaiian and
other Pacific Islander; "native" is American Indian and Alaska Native; "multiple" is two or more races."""
