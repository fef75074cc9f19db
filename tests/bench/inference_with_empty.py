"""Inference as it is, and beside its service, on the same server, a method that does nothing.

    python -m tests.bench.inference_with_empty

The empty method decodes the same request; it answers an empty response, and neither counts nor times itself.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc

from services.inference import server
from services.inference.__main__ import work
from services.inference.server import Server
from services.inference.settings import InferenceSettings
from shared.pb.freshet.v1.recommender_pb2 import RecommendRequest, RecommendResponse
from shared.process.run import run_service
from shared.state.shop import ShopSettings

SERVICE, METHOD = "freshet.bench.Empty", "Recommend"
EMPTY = f"/{SERVICE}/{METHOD}"


class WithEmpty(Server):
    """The server with one method more."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        handler = grpc.unary_unary_rpc_method_handler(
            _answer, RecommendRequest.FromString, RecommendResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))


async def _answer(request: RecommendRequest, context: Any) -> RecommendResponse:
    return RecommendResponse()


if __name__ == "__main__":
    server.Server = WithEmpty  # type: ignore[misc]
    sys.exit(run_service("inference", __doc__, InferenceSettings, work, also=[ShopSettings]))
