"""Faust's consumer, sleeping while nothing comes.

aiokafka's background routine looks five times a second whether it has something to do, besides waking for each answer
of a broker, each record that was taken and each change of what it reads (`consumer_timeout_ms`, 200). Faust has no
setting for it, and in a role at rest these looks are a sixth of all that it uses.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer

LOOK_SECONDS = 5.0


class _Thread(AIOKafkaConsumerThread):
    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        consumer._consumer_timeout = LOOK_SECONDS  # noqa: SLF001  # it is read when the consumer starts
        return consumer


class SleepingConsumer(Consumer):
    """Faust's own in all else."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)
