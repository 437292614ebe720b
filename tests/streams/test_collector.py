"""What /metrics shows of windows, when, and when not."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from estimator import GROUPS, CellLayout, weighted
from privacy import parse_measurement
from streams.control import FOREVER_MS, Approved
from streams.records.metric import FairnessMetric
from streams.watch.collector import FairnessCollector

from .test_metric_record import AXES, TABLE, void, window  # isort: skip
