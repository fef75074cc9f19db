"""Reasons, products that go together, and new products, as a shop's own client gets them: a real broker, real gRPC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from shared.log.topics import ensure_topics
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support import states
from tests.support.inference import Inference, eventually, running
from tests.support.states import review
from tests.support.versions import announce, tiny_version

GUITARS = ("red guitar", "blue guitar", "guitar strings")
OTHERS = ("steel rake", "lawn mower", "garden hose")
SHOP = [ev.Product(product_id=title, title=title, price=20.0) for title in (*GUITARS, *OTHERS)]
LOVED = 12  # reviews that make a product well known
REVIEWED = ("red guitar", "steel rake")


def ids(products: Sequence[pb.RecommendedProduct]) -> list[str]:
    return [product.product_id for product in products]


@pytest.fixture(scope="module")
def log(broker_address: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix="reasons", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    reviews = [review(f"{product} {n}", product, n) for product in REVIEWED for n in range(LOVED)]
    states.write(settings, [*reviews, review("ann", "red guitar", 20), review("ann", "steel rake", 21)])
    return settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="module")
def inference(log: KafkaSettings, folder: Path) -> Iterator[Inference]:
    """A shop that has no model version yet."""
    with running(log, folder) as service:
        service.stub.UpsertProducts(pb.UpsertProductsRequest(products=SHOP), timeout=20)
        eventually(lambda: service.metrics()["freshet_inference_products"] == len(SHOP))
        yield service


def similar(inference: Inference, product_id: str, **wishes: Any) -> pb.SimilarProductsResponse:
    request = pb.SimilarProductsRequest(product_id=product_id, wishes=ParseDict(wishes, pb.Wishes()))
    answer: pb.SimilarProductsResponse = inference.stub.SimilarProducts(request, timeout=20)
    return answer


def recommend(inference: Inference, **wishes: Any) -> pb.RecommendResponse:
    request = pb.RecommendRequest(user_id="ann", wishes=ParseDict(wishes, pb.Wishes()))
    answer: pb.RecommendResponse = inference.stub.Recommend(request, timeout=20)
    return answer


def adds_up(products: Sequence[pb.RecommendedProduct]) -> bool:
    return all(
        sum(reason.score for reason in product.reasons) == pytest.approx(product.score, abs=1e-4)
        for product in products
    )


def test_similar_products_before_and_after_something_was_learned(
    inference: Inference, log: KafkaSettings, folder: Path
) -> None:
    plain = similar(inference, "red guitar", explain=True)
    assert plain.model_version == ""
    assert [p for p in ids(plain.products) if p not in REVIEWED][:2] == ["blue guitar", "guitar strings"]
    parts = {p.product_id: {reason.part for reason in p.reasons} for p in plain.products}
    assert pb.PART_CONTENT in parts["blue guitar"]
    assert pb.PART_CO_OCCURRENCE not in parts["blue guitar"]
    assert pb.PART_CO_OCCURRENCE in parts["steel rake"], "one user had both"
    assert adds_up(plain.products)
    third = similar(inference, "red guitar", exclude_product_ids=["blue guitar", "steel rake"], count=1)
    assert ids(third.products) == ["guitar strings"]
    assert not similar(inference, "red guitar", minimum_score=plain.products[0].score + 0.1).products
    with pytest.raises(grpc.RpcError) as refused:
        similar(inference, "nobody has it")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND

    follows = {"red guitar": {"guitar strings": 0.6}, "steel rake": {"lawn mower": 0.5}}
    scores = dict.fromkeys((p.product_id for p in SHOP), 0.0)
    announce(log, tiny_version(folder / "models", "v1", scores, follows=follows))
    eventually(lambda: inference.serving() == "v1")
    learned = similar(inference, "red guitar", explain=True, product_fields="title")
    assert learned.model_version == "v1"
    assert ids(learned.products)[0] == "guitar strings"
    assert "red guitar" not in ids(learned.products)
    assert learned.products[0].product.title == "guitar strings"
    assert adds_up(learned.products)
    best = {reason.part: reason for reason in learned.products[0].reasons}
    (event,) = best[pb.PART_CO_OCCURRENCE].events
    assert (event.product_id, event.kind, event.event_time_ms) == ("red guitar", ev.EVENT_KIND_VIEW, 0)

    answer = recommend(inference, explain=True)
    assert adds_up(answer.products)
    reasons = {p.product_id: {r.part: r for r in p.reasons} for p in answer.products}
    (event,) = reasons["lawn mower"][pb.PART_CO_OCCURRENCE].events
    assert (event.product_id, event.kind) == ("steel rake", ev.EVENT_KIND_REVIEW)
    assert not any(p.reasons for p in recommend(inference).products)


def test_a_new_product_has_a_place_in_the_next_answer_and_gone_ones_none(inference: Inference) -> None:
    for n, unavailable in enumerate((False, True)):
        new = ev.Product(product_id=f"new {n}", title="red guitar", price=20.0, unavailable=unavailable)
        inference.stub.UpsertProducts(pb.UpsertProductsRequest(products=[new]), timeout=20)
    eventually(lambda: inference.metrics()["freshet_inference_products"] >= len(SHOP) + 2)
    answer = recommend(inference, explain=True, count=20)
    products = {p.product_id: p for p in answer.products}
    assert "new 1" not in products
    assert products["new 0"].score > products["garden hose"].score + 0.5
    assert pb.PART_CONTENT in {reason.part for reason in products["new 0"].reasons}
    assert "new 1" not in ids(similar(inference, "red guitar", count=20).products)
    assert "new 0" in ids(similar(inference, "red guitar", count=20).products)
    inference.stub.RemoveProducts(pb.RemoveProductsRequest(product_ids=["new 0", "new 1"]), timeout=20)
    eventually(lambda: "new 0" not in ids(recommend(inference, count=20).products))
