"""What a shop may ask of inference: a real broker, a real gRPC server in a process of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from shared.log.records import DAY_MS
from shared.log.topics import ensure_topics
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.support import states
from tests.support.inference import Inference, eventually, running
from tests.support.states import START_MS, review
from tests.support.versions import announce, tiny_version

SHOP = (
    ev.Product(product_id="boot", title="Red boot", categories=["Clothes", "Shoes"], brand="Acme", price=80.0),
    ev.Product(product_id="cap", title="Blue cap", categories=["Clothes", "Hats"], brand="Acme", price=20.0),
    ev.Product(product_id="hat", title="Red hat", categories=["Clothes", "Hats"], brand="Hatter", price=30.0),
    ev.Product(product_id="rake", title="Rake", categories=["Garden"], price=25.0, listed_ms=START_MS - 90 * DAY_MS),
    ev.Product(product_id="shoe", title="Red shoe", categories=["Clothes", "Shoes"], brand="Acme", price=50.0),
)
USERS = ("ann", "bob", "cay", "dan")
# Who looks at a hat takes the cap next; else the boot leads.
SCORES = {"boot": 15.0, "shoe": 10.0, "hat": 5.0, "cap": 0.0, "rake": -5.0}
FOLLOWS = {"hat": {"cap": 1.0}}


def ids(products: Sequence[pb.RecommendedProduct]) -> list[str]:
    return [product.product_id for product in products]


def wishes_of(**fields: Any) -> pb.Wishes:
    return ParseDict(fields, pb.Wishes())


@pytest.fixture(scope="module")
def log(broker_address: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix="requests", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    reviews = [("ann", "rake"), ("bob", "shoe"), ("cay", "shoe"), ("dan", "told")]
    states.write(settings, [review(user, product, day) for day, (user, product) in enumerate(reviews)])
    return settings


@pytest.fixture(scope="module")
def inference(log: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    """A shop of six products, one of them known only from its event, and a version that knows the other five."""
    folder = tmp_path_factory.mktemp("inference")
    with running(log, folder, place_new_products=False) as service:  # each score is as stated
        service.stub.UpsertProducts(pb.UpsertProductsRequest(products=SHOP), timeout=20)
        announce(log, tiny_version(folder / "models", "v1", SCORES, follows=FOLLOWS))
        eventually(lambda: service.serving() == "v1")
        eventually(lambda: service.metrics()["freshet_inference_products"] == len(SHOP) + 1)
        yield service


def recommend(
    inference: Inference, *, user: str = "", session: Sequence[str] = (), **wishes: Any
) -> pb.RecommendResponse:
    request = pb.RecommendRequest(user_id=user, session_product_ids=session, wishes=wishes_of(**wishes))
    answer: pb.RecommendResponse = inference.stub.Recommend(request, timeout=20)
    return answer


HATS = {"category": {"values": ["hats"]}}


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, "boot shoe told hat cap"),
        ({"count": 2}, "boot shoe"),
        ({"filter": HATS}, "hat cap"),
        ({"filter": {"price": {"at_least": 30, "at_most": 50}}}, "shoe hat"),
        ({"filter": {"age": {"at_most_days": 2}}}, "shoe told"),
        ({"filter": {"all_of": {"filters": [{"brand": {"values": ["acme"]}}, {"not": HATS}]}}}, "boot shoe"),
        ({"boosts": [{"products": HATS, "factor": 1e6}]}, "hat boot shoe cap told"),
        ({"exclude_product_ids": ["boot", "nobody"]}, "shoe told hat cap"),
        ({"diversity": 0.95, "count": 2}, "boot told"),
        ({"filter": {"brand": {"values": ["nobody"]}}}, ""),
    ],
)
def test_an_answer_is_as_wished(inference: Inference, wishes: dict[str, Any], expected: str) -> None:
    answer = recommend(inference, user="ann", **wishes)
    assert ids(answer.products) == expected.split()
    assert answer.strategy == pb.STRATEGY_LEARNED
    assert answer.fallback == (pb.FALLBACK_UNSPECIFIED if expected else pb.FALLBACK_NOTHING_LEFT)


def test_scores_below_the_minimum_are_left_out(inference: Inference) -> None:
    full = recommend(inference, user="ann")
    least = full.products[1].score
    assert ids(recommend(inference, user="ann", minimum_score=least).products) == ["boot", "shoe"]


def test_the_deprecated_count_and_excluded_products_are_still_honoured(inference: Inference) -> None:
    def shown(**fields: Any) -> list[str]:
        return ids(inference.stub.Recommend(pb.RecommendRequest(user_id="ann", **fields), timeout=20).products)

    assert shown(count=1) == shown(count=1, wishes=pb.Wishes(count=1)) == ["boot"]
    assert shown(exclude_product_ids=["boot"], wishes=pb.Wishes(count=1)) == ["shoe"]
    assert shown(exclude_product_ids=["boot"], wishes=pb.Wishes(exclude_product_ids=["shoe"], count=1)) == ["told"]
    with pytest.raises(grpc.RpcError) as refused:
        shown(count=1, wishes=pb.Wishes(count=3))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "wishes.count: 3, but count, which is deprecated, says 1; give one"


def test_the_fields_that_are_asked_for_come_along(inference: Inference) -> None:
    answer = recommend(inference, user="ann", product_fields="title,price")
    assert [(p.product.title, p.product.price) for p in answer.products][:2] == [("Red boot", 80.0), ("Red shoe", 50.0)]
    assert answer.products[0].product == ev.Product(title="Red boot", price=80.0), "and no others"
    assert not recommend(inference, user="ann").products[0].HasField("product")
    wishes = pb.Wishes(product_fields={"paths": []})
    none = inference.stub.Recommend(pb.RecommendRequest(user_id="ann", wishes=wishes), timeout=20)
    assert [p.HasField("product") for p in none.products] == [False] * len(answer.products)
    whole = recommend(
        inference, user="ann", product_fields=",".join(f.camelcase_name for f in ev.Product.DESCRIPTOR.fields)
    )
    assert whole.products[0].product == SHOP[0]


def test_a_guest_is_answered_by_the_session(inference: Inference) -> None:
    answer = recommend(inference, session=["never seen", "hat"])
    assert ids(answer.products) == ["boot", "shoe", "told", "cap", "rake"]
    assert (answer.strategy, answer.fallback, answer.model_version) == (
        pb.STRATEGY_LEARNED,
        pb.FALLBACK_UNSPECIFIED,
        "v1",
    )
    assert not answer.HasField("position")
    without = recommend(inference, session=["rake"])
    cap = {
        name: {p.product_id: p.score for p in response.products}["cap"]
        for name, response in (("hat", answer), ("rake", without))
    }
    assert cap["hat"] > cap["rake"] + 1.0, "the cap follows the hat"
    for nobody in (recommend(inference), recommend(inference, session=["never seen"])):
        assert (nobody.strategy, nobody.fallback) == (pb.STRATEGY_TRENDING, pb.FALLBACK_UNKNOWN_USER)


def test_a_users_session_is_added_to_what_the_log_says(inference: Inference) -> None:
    before = recommend(inference, user="ann")
    during = recommend(inference, user="ann", session=["hat"])
    assert not {"hat", "rake"} & set(ids(during.products)), "neither what was reviewed nor what was looked at"
    cap = [{p.product_id: p.score for p in answer.products}["cap"] for answer in (before, during)]
    assert cap[1] > cap[0] + 0.5
    assert during.HasField("position")
    assert recommend(inference, user="ann").products == before.products, "the session was for one answer"
    fresh = recommend(inference, user="new", session=["hat"])
    assert (fresh.strategy, ids(fresh.products)) == (
        pb.STRATEGY_LEARNED,
        ids(recommend(inference, session=["hat"]).products),
    )


def test_trending_in_all_and_in_a_category(inference: Inference) -> None:
    def trending(category: str = "", **wishes: Any) -> list[pb.RecommendedProduct]:
        request = pb.TrendingRequest(category=category, wishes=wishes_of(**wishes))
        return list(inference.stub.Trending(request, timeout=20).products)

    everything = trending()
    assert ids(everything)[0] == "shoe"
    assert set(ids(everything)) == {*SCORES, "told"}
    assert sum(math.exp(product.score) for product in everything) == pytest.approx(1.0)
    assert set(ids(trending("HATS"))) == {"hat", "cap"}
    assert ids(trending("clothes", count=1, product_fields="title")) == ["shoe"]
    assert trending("clothes", count=1, product_fields="title")[0].product.title == "Red shoe"
    assert ids(trending("clothes", filter={"price": {"at_most": 20}})) == ["cap"]
    assert trending("no such category") == []


def test_a_batch_answers_each_user_as_alone_and_in_order(inference: Inference) -> None:
    wishes = wishes_of(count=3, filter={"price": {"at_least": 1}}, product_fields="title")
    user_ids = ["cay", "nobody knows", "ann", "cay"]
    answers = list(
        inference.stub.BatchRecommend(pb.BatchRecommendRequest(user_ids=user_ids, wishes=wishes), timeout=20)
    )
    assert [answer.user_id for answer in answers] == user_ids
    for answer in answers:
        alone = inference.stub.Recommend(pb.RecommendRequest(user_id=answer.user_id, wishes=wishes), timeout=20)
        assert answer.response.request_id != alone.request_id
        alone.request_id = answer.response.request_id
        assert answer.response == alone
    assert answers[1].response.fallback == pb.FALLBACK_UNKNOWN_USER


def test_a_batch_waits_for_its_reader_lets_others_through_and_ends_with_its_caller(inference: Inference) -> None:
    def answered() -> float:
        series = inference.metrics()
        return sum(v for name, v in series.items() if name.startswith("freshet_inference_recommendations_total"))

    users = 100_000
    cancelled = 'freshet_inference_requests_total{code="CANCELLED",method="BatchRecommend"}'
    before = inference.metrics()[cancelled]
    request = pb.BatchRecommendRequest(user_ids=["ann"] * users, wishes=wishes_of(count=1))
    start = answered()
    batch = inference.stub.BatchRecommend(request, timeout=60)
    assert next(batch).user_id == "ann"
    for _ in range(20):
        assert ids(recommend(inference, user="bob", count=1).products) == ["boot"]
    batch.cancel()
    eventually(lambda: inference.metrics()[cancelled] == before + 1)
    assert answered() - start < users / 2, "nobody reads it, so it was not made"
    assert ids(recommend(inference, user="bob", count=1).products) == ["boot"]


def paged(call: Callable[..., Any], request: Any, field: str) -> tuple[list[Any], set[int]]:
    """The items of all pages, and the totals that the pages give."""
    items: list[Any] = []
    totals: set[int] = set()
    while True:
        page = call(request, timeout=20)
        assert len(getattr(page, field)) <= request.page_size
        items += getattr(page, field)
        totals.add(page.total)
        if not page.next_page_token:
            return items, totals
        request.page_token = page.next_page_token


def test_products_are_listed_page_by_page(inference: Inference) -> None:
    bare = ev.Product(product_id="told")
    for size in (1, 2, 6, 50):
        products, totals = paged(inference.stub.ListProducts, pb.ListProductsRequest(page_size=size), "products")
        assert (products, totals) == ([*SHOP, bare], {6})
    red = pb.ListProductsRequest(page_size=1, query="red clothes")
    assert [p.product_id for p in paged(inference.stub.ListProducts, red, "products")[0]] == ["boot", "hat", "shoe"]
    hats = pb.ListProductsRequest(page_size=1, query="red", filter=ParseDict(HATS, pb.Filter()))
    assert paged(inference.stub.ListProducts, hats, "products") == ([SHOP[2]], {1})
    first = inference.stub.ListProducts(pb.ListProductsRequest(page_size=1), timeout=20)
    with pytest.raises(grpc.RpcError) as refused:
        inference.stub.ListProducts(pb.ListProductsRequest(page_token=first.next_page_token, query="red"), timeout=20)
    assert refused.value.details().startswith("page_token: not a token of this query and filter")


def test_users_are_listed_page_by_page(inference: Inference) -> None:
    for size in (1, 3, 4, 50):
        users, totals = paged(inference.stub.ListUsers, pb.ListUsersRequest(page_size=size), "users")
        assert totals == {len(USERS)}
        assert sorted(user.user_id for user in users) == list(USERS)
        for user in users:
            alone = inference.stub.GetUser(pb.GetUserRequest(user_id=user.user_id), timeout=20)
            assert (user.events, user.user_class) == (alone.events, alone.user_class)
            assert user.newest_ms == alone.history[-1].event_time_ms


def test_a_product_is_known_by_its_record_and_its_events(inference: Inference) -> None:
    def known(product: str) -> pb.GetProductResponse:
        answer: pb.GetProductResponse = inference.stub.GetProduct(pb.GetProductRequest(product_id=product), timeout=20)
        return answer

    shoe, bare, cap = known("shoe"), known("told"), known("cap")
    assert (shoe.product, shoe.events, shoe.first_event_ms) == (SHOP[4], 2, START_MS + DAY_MS)
    assert (bare.product, bare.events) == (ev.Product(product_id="told"), 1)
    assert (cap.product, cap.events, cap.first_event_ms) == (SHOP[1], 0, 0)
    assert (shoe.popularity_rank, bare.popularity_rank, cap.popularity_rank) == (1, 2, 4), "the rake is third"
    assert shoe.share > bare.share > cap.share > 0.0
    with pytest.raises(grpc.RpcError) as refused:
        known("nobody")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "product_id: 'nobody' is not in the catalogue"


def test_what_can_not_be_had_is_never_shown_while_calls_run(inference: Inference) -> None:
    """One product flips between available and not; no answer holds it while the service says that it is unavailable."""
    product = SHOP[0]
    epoch, hidden = 0, False  # as the flipping thread knows them
    shown: list[str] = []
    wrong: list[str] = []
    done = threading.Event()
    wishes = wishes_of(diversity=0.3, filter={"price": {"at_least": 1}}, boosts=[{"products": HATS, "factor": 2}])

    def calls(stub: RecommenderServiceStub) -> Iterator[tuple[str, list[str]]]:
        yield "Recommend", ids(stub.Recommend(pb.RecommendRequest(user_id="bob", wishes=wishes), timeout=20).products)
        yield "guest", ids(stub.Recommend(pb.RecommendRequest(session_product_ids=["hat"]), timeout=20).products)
        yield "Trending", ids(stub.Trending(pb.TrendingRequest(category="clothes"), timeout=20).products)
        similar = stub.SimilarProducts(pb.SimilarProductsRequest(product_id="shoe"), timeout=20)
        yield "SimilarProducts", ids(similar.products)
        batch = stub.BatchRecommend(pb.BatchRecommendRequest(user_ids=["bob"], wishes=wishes), timeout=20)
        yield "BatchRecommend", ids(next(batch).response.products)

    def call() -> None:
        with grpc.insecure_channel(inference.address) as channel:
            answers = calls(RecommenderServiceStub(channel))
            while not done.is_set():
                before = (epoch, hidden)
                answer = next(answers, None)
                if answer is None:
                    answers = calls(RecommenderServiceStub(channel))
                elif product.product_id not in answer[1]:
                    continue
                elif before == (epoch, hidden) and hidden:
                    wrong.append(answer[0])
                else:
                    shown.append(answer[0])

    def flip(*, unavailable: bool) -> None:
        changed = ev.Product()
        changed.CopyFrom(product)
        changed.unavailable = unavailable
        inference.stub.UpsertProducts(pb.UpsertProductsRequest(products=[changed]), timeout=20)
        request = pb.GetProductRequest(product_id=product.product_id)
        eventually(lambda: inference.stub.GetProduct(request, timeout=20).product.unavailable == unavailable)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(12):
            flip(unavailable=True)
            epoch, hidden = epoch + 1, True
            assert inference.stub.GetProduct(pb.GetProductRequest(product_id="boot"), timeout=20).popularity_rank == 0
            recommend(inference, user="ann")
            epoch, hidden = epoch + 1, False
            flip(unavailable=False)
            count = len(shown)
            eventually(lambda count=count: len(shown) > count)
    finally:
        done.set()
        for caller in callers:
            caller.join()
    assert wrong == []
    assert set(shown) == {"Recommend", "guest", "Trending", "SimilarProducts", "BatchRecommend"}
