"""What is no text, in what strangers write: it could drive a terminal, or make words read otherwise than they are."""

from __future__ import annotations

import re

NOT_TEXT = re.compile(
    "["
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # control characters but for the line feed
    "\u00ad\u180e\u200b\u2060-\u2064\ufeff"  # seen by nobody
    "\u202a-\u202e\u2066-\u206f"  # turn the direction of what comes after them
    "\u2028\u2029"  # ends of lines and paragraphs that are no line feeds
    "\ufff9-\ufffb\U000e0000-\U000e007f"  # annotations and tags
    "\ud800-\udfff"  # halves of a character
    "]"
)
"""Joiners and single direction marks are not in it: some scripts, and composed emoji, cannot do without them."""
