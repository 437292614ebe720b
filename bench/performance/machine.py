"""What the figures were measured on, and with: a figure without it says little."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import confluent_kafka

from streams.kafka.dev_jars import KAFKA_VERSION

_PACKAGES = ("confluent-kafka", "msgspec", "numpy", "cryptography", "opendp", "faust-streaming")


def describe() -> dict[str, str]:
    """In words, for the page."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _said("git", "rev-parse", "--short", "HEAD") or "not known",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "Kafka": KAFKA_VERSION,
        "Java": _java(),
        "load before": f"{os.getloadavg()[0]:.1f}",
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "not known"


def _java() -> str:
    lines = _said("java", "-version").splitlines()
    return lines[0] if lines else "not there"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()
