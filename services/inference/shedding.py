"""How a call is refused that would wait too long: before it is read, and with when to come again."""

from __future__ import annotations

from random import Random
from typing import Any

import grpc

from services.inference import metrics
from services.inference.turns import Turns

# Methods that compute: their calls take turns. The others wait for the broker, or cost next to nothing; they are never
# refused for what these have to do, and neither is a health check.
COMPUTING = frozenset({"Recommend", "SimilarProducts", "Trending", "ListProducts"})
# Of gRPC's retry design (A6): a client's own retries heed it.
PUSHBACK = "grpc-retry-pushback-ms"
# When to come again: drawn evenly between, so that those refused together don't come back together.
SOONEST_MS, LATEST_MS = 100, 300


class Shedding:
    """Refuses calls of methods that compute when the queue for a turn is long."""

    def __init__(self, turns: Turns, rng: Random) -> None:
        self.turns = turns
        self._rng = rng
        # Of a stream of requests none needs to be received first: that saves a good part of what a call costs.
        self._handlers = {method: grpc.stream_unary_rpc_method_handler(self._refusing(method)) for method in COMPUTING}

    def refusal(self, method: str) -> Any | None:
        """The handler that refuses a call which came, None where it is answered."""
        handler = self._handlers.get(method)
        return handler if handler is not None and self.turns.refuses() else None

    def _refusing(self, method: str) -> Any:
        refused = metrics.REQUESTS.labels(method, grpc.StatusCode.RESOURCE_EXHAUSTED.name)

        async def refuse(_: Any, context: Any) -> None:
            refused.inc()
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "more calls come than can be answered in time: ask again a little later; start more processes by "
                "FRESHET_INFERENCE_PROCESSES",
                ((PUSHBACK, str(self._rng.randint(SOONEST_MS, LATEST_MS))),),
            )

        return refuse
