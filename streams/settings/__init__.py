"""Everything that an operator can turn, with its default, its unit and its meaning.

Sources, strongest first: ``--set name=value``; environment variables (``EVENSTREAM_KAFKA__BOOTSTRAP``, then
``KAFKA_BOOTSTRAP``, the one name that other tools share); a YAML file (``--config`` or ``EVENSTREAM_CONFIG``); the
defaults below. An unknown name is an error, wherever it comes from: a misspelt setting that is silently ignored is how
systems fail.
"""

from __future__ import annotations

from streams.settings.fields import DEFAULT_PORTS, PRINCIPALS, PROTOCOL_PROPERTIES, LoggingSettings, Settings
from streams.settings.loading import load_settings, settings_file
from streams.settings.reference import Setting, environment_name, reference

__all__ = [
    "DEFAULT_PORTS",
    "PRINCIPALS",
    "PROTOCOL_PROPERTIES",
    "LoggingSettings",
    "Setting",
    "Settings",
    "environment_name",
    "load_settings",
    "reference",
    "settings_file",
]
