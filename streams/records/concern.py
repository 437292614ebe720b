"""Records of `concerns`: an anonymous remark about a measurement.

The record holds what was said, about what, and the UTC day: no address, account, browser or cookie, and no time that
could be set against the access log of whatever stands in front of the page. Whoever may write the topic can write
anything, so decoding takes nothing for granted.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from datetime import UTC, date, datetime
from typing import Literal, get_args

import msgspec

from streams.errors import InputError, RecordMalformed
from streams.plain_text import NOT_TEXT

FORMAT_VERSION = 1
MAX_TEXT = 2000
MAX_BYTES = 16_384
"""Of a record. The longest text has 8,000 bytes of UTF-8, 12,000 where JSON writes its characters as escapes."""

Source = Literal["page", "command"]

_ID = re.compile(r"[0-9a-f]{32}")
_MEASUREMENT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
"""What comes along when text is copied, and is seen by nobody: left out."""


class Concern(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """JSON object.

    Attributes:
        version: of this format.
        id: 128 random bits, hex; the record's key.
        measurement: which it is about.
        day: UTC date, YYYY-MM-DD.
        text: as :func:`normal_text` gives it.
        source: "page" or "command".
    """

    version: int
    id: str
    measurement: str
    day: str
    text: str
    source: str


def new_concern(measurement: str, text: str, source: Source, now_ms: int) -> Concern:
    """A concern under an id of its own.

    Args:
        measurement: its id, already known to exist.
        text: as somebody wrote it.
        now_ms: epoch milliseconds, of which only the UTC day is kept.

    Raises:
        InputError: the text is empty, too long, or holds control characters.
    """
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    return Concern(FORMAT_VERSION, secrets.token_hex(16), measurement, day, normal_text(text), source)


def normal_text(text: str) -> str:
    """Text in the one form in which it is kept: NFC, lines that end in a line feed, no white space around it.

    Raises:
        InputError: it is empty, longer than 2,000 characters, or holds what is no text: control characters, which
            could drive a reader's terminal, or marks that turn the direction of what comes after them.
    """
    if len(text) > 8 * MAX_TEXT:
        raise InputError(f"a concern has at most {MAX_TEXT:,} characters, this one has {len(text):,}; shorten it")
    lines = _LINE_END.sub("\n", text).replace("\t", " ").translate(_INVISIBLE)
    found = unicodedata.normalize("NFC", lines).strip()
    refused = NOT_TEXT.search(found)
    if refused is not None:
        raise InputError(
            f"a concern is plain text, this one holds the control character U+{ord(refused[0]):04X}; take it out"
        )
    if not found:
        raise InputError("the text of a concern is empty; say in your own words what should be looked at")
    if len(found) > MAX_TEXT:
        raise InputError(f"a concern has at most {MAX_TEXT:,} characters, this one has {len(found):,}; shorten it")
    return found


def midnight_ms(concern: Concern) -> int:
    """The record's Kafka timestamp: the beginning of its day, so that the broker keeps no other time either."""
    day = date.fromisoformat(concern.day)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Concern)


def encode_concern(concern: Concern) -> bytes:
    """The record's value."""
    return _encoder.encode(concern)


def decode_concern(key: bytes | None, value: bytes | None) -> Concern:
    """A record, decoded and checked in every field, or :class:`RecordMalformed`; the error never repeats the text."""
    if value is None or len(value) > MAX_BYTES:
        raise RecordMalformed(f"expected a concern of at most {MAX_BYTES:,} bytes, got {len(value or b''):,}")
    try:
        concern = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # the second: text that is not UTF-8
        raise RecordMalformed("a concern is a JSON object with the fields of docs/protocol.md; this is none") from None
    checks = {
        "version": concern.version == FORMAT_VERSION,
        "id": _ID.fullmatch(concern.id) is not None and concern.id.encode() == key,
        "measurement": _MEASUREMENT.fullmatch(concern.measurement) is not None,
        "day": _is_day(concern.day),
        "text": _is_normal(concern.text),
        "source": concern.source in get_args(Source),
    }
    wrong = [name for name, holds in checks.items() if not holds]
    if wrong:
        raise RecordMalformed(f"a concern whose {', '.join(wrong)} is not what it must be")
    return concern


def _is_day(day: str) -> bool:
    try:
        return _DAY.fullmatch(day) is not None and bool(date.fromisoformat(day))
    except ValueError:
        return False


def _is_normal(text: str) -> bool:
    try:
        return normal_text(text) == text
    except InputError:
        return False
