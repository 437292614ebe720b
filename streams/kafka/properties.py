"""What every client is configured with beside evenstream's own choices: the operator's properties, and those in files.

Orchestrators hand passwords out as files (a mounted Secret), and take a new one by changing the file. So a file is read
each time that a client is made, and a client that is made after the change has the new password. No error holds what a
file does.
"""

from __future__ import annotations

from pathlib import Path

from streams.errors import SettingsError
from streams.settings.fields import KafkaSettings

MOST_BYTES = 65_536
"""Of one file: a chain of certificates has a few thousand."""


def client_properties(kafka: KafkaSettings) -> dict[str, str]:
    """``kafka.properties`` and the contents of ``kafka.property_files``, without one newline at each one's end.

    Raises:
        SettingsError: a file is missing, empty, too large, or no text; the message names the property and the path.
    """
    return {**kafka.properties, **{name: _content(name, path) for name, path in kafka.property_files.items()}}


def _content(name: str, path: Path) -> str:
    where = f"kafka.property_files.{name}: the file {path}"
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{where} has more than {MOST_BYTES} bytes, expected the value of one property")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SettingsError(f"{where} must hold text in UTF-8, the value of one property and nothing else")
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not text:
        raise SettingsError(f"{where} is empty, expected the value of one property")
    return text
