"""The least a Faust app can do per event: consume raw, send as many bytes, in the way that is fastest.

    python -m tests.bench.bare_faust BOOTSTRAP SOURCE SINK BYTES

Faust's own producer, batches by `take_events`, acknowledgements gathered, uvloop, a linger.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import faust
import uvloop

BATCH = 500
WITHIN_SECONDS = 0.02
LINGER_SECONDS = 0.005


def main() -> None:
    """Work until killed."""
    bootstrap, source, sink, size = sys.argv[1:]
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_work(bootstrap, source, sink, bytes(int(size))))


async def _work(bootstrap: str, source: str, sink: str, value: bytes) -> None:
    app = faust.App(
        f"{sink}-bare",
        broker=f"kafka://{bootstrap}",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        broker_request_timeout=30.0,
        producer_linger=LINGER_SECONDS,
        producer_request_timeout=30.0,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    states = app.topic(sink, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    events = app.topic(source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def copy(stream: Any) -> None:
        async for batch in stream.take_events(BATCH, within=WITHIN_SECONDS):
            sent = [
                await states.send(key=event.message.key, value=value, partition=event.message.partition)
                for event in batch
            ]
            await asyncio.gather(*sent)

    app.agent(events, name="copy", concurrency=1)(copy)
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    main()
