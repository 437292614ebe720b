"""The consumer that publish gives to Faust."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import faust

from streams.kafka.faust_consumer import LOOK_SECONDS, SleepingConsumer


def test_its_background_routine_sleeps(tmp_path: Path) -> None:
    """aiokafka takes the time from where it is set, and would look five times a second without it."""

    async def looks_every(consumer: Any) -> float:
        app: Any = faust.App("sleeps", broker="kafka://127.0.0.1:1", store="memory://", datadir=str(tmp_path))
        if consumer is not None:
            app.transport.Consumer = consumer
        made = app.consumer._new_consumer_thread()._create_consumer(asyncio.get_running_loop())
        return float(made._consumer_timeout)

    assert asyncio.run(looks_every(None)) == 0.2
    assert asyncio.run(looks_every(SleepingConsumer)) == LOOK_SECONDS
