"""The calls of `RecommenderService`, on the event loop: those that recommend, and with them all others."""

# ruff: noqa: N802, ARG002  # gRPC gives the names and the arguments

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from uuid import uuid4

import numpy as np

from services.inference import answers, metrics, requests
from services.inference.log_calls import LogCalls
from services.inference.look_up_calls import LookUpCalls
from services.inference.reasons import past_events
from services.inference.recommend import Asked, choose, recommend
from services.inference.refusals import Context
from services.inference.scored import score, score_similar
from services.inference.viewers import Viewer, viewer_of
from services.inference.wishes import check_wishes
from shared.log.limits import check
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceServicer

NOBODY = Viewer(None, np.zeros(0, np.int32))


class Servicer(LogCalls, LookUpCalls, RecommenderServiceServicer):
    """Answers from `Knowledge` and the version that is served when the answer is made."""

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """The best products for one user or session now."""
        wishes = requests.recommend_wishes(request, self._knowledge.positions.partitions)
        self._refuse_unless_ready()
        if request.HasField("after_position"):
            await self._wait_for(request.after_position, context)
        self._refuse_if_late(context)
        asked = Asked(requests.wanted(wishes), wishes)
        return self._answer(request.user_id, request.session_product_ids, asked)

    async def BatchRecommend(
        self, request: pb.BatchRecommendRequest, context: Context
    ) -> AsyncGenerator[pb.BatchRecommendResponse, None]:
        """The same for many users, other calls answered in between."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        asked = Asked(requests.wanted(request.wishes), request.wishes)
        for user_id in request.user_ids:
            await self._turns.take()
            yield pb.BatchRecommendResponse(user_id=user_id, response=self._answer(user_id, (), asked))
            await asyncio.sleep(0)

    async def Trending(self, request: pb.TrendingRequest, context: Context) -> pb.TrendingResponse:
        """What is popular now."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        knowledge, wishes = self._knowledge, requests.trending_wishes(request)
        asked = Asked(requests.wanted(wishes), wishes)
        places, reasons = choose(score(None, None, wishes, knowledge, None), NOBODY, asked, knowledge, None)
        return pb.TrendingResponse(products=answers.recommended(places, wishes, knowledge.catalogue, reasons))

    async def SimilarProducts(self, request: pb.SimilarProductsRequest, context: Context) -> pb.SimilarProductsResponse:
        """What goes with a product, whoever asks."""
        check(request)
        check_wishes(request.wishes)
        self._refuse_unless_ready()
        self._refuse_if_late(context)
        row, knowledge, wishes = self.known_row(request.product_id), self._knowledge, request.wishes
        serving = self._watcher.serving
        version, asked = serving.scorer if serving else None, Asked(requests.wanted(wishes), wishes)
        viewer = viewer_of("", [request.product_id], knowledge)
        assert viewer.window is not None, "the product has a row"  # noqa: S101
        scored = score_similar(row, version, viewer.window, wishes, knowledge)
        places, reasons = choose(scored, viewer, asked, knowledge, version)
        events = past_events("", viewer, knowledge) if reasons else []
        return pb.SimilarProductsResponse(
            products=answers.recommended(places, wishes, knowledge.catalogue, reasons, events),
            model_version=version.manifest.version_id if version is not None else "",
        )

    def _answer(self, user_id: str, session: Sequence[str], asked: Asked) -> pb.RecommendResponse:
        start = time.perf_counter()
        knowledge, serving = self._knowledge, self._watcher.serving  # once: a swap must not mix two versions
        viewer = viewer_of(user_id, session, knowledge)
        answer = recommend(
            viewer,
            asked,
            knowledge=knowledge,
            version=serving.scorer if serving else None,
            rng=self._rng,
        )
        metrics.recommendations(answer.strategy, answer.fallback).inc()
        events = past_events(user_id, viewer, knowledge) if answer.reasons else []
        response = pb.RecommendResponse(
            products=answers.recommended(answer.places, asked.wishes, knowledge.catalogue, answer.reasons, events),
            model_version=answer.model_version,
            strategy=answer.strategy,
            fallback=answer.fallback,
            position=knowledge.positions.newest_of(user_id) if user_id else None,
            request_id=uuid4().hex,
        )
        self._pace.took(time.perf_counter() - start)
        return response
