"""`Recommend` at 10,000 products, plain and with wishes: calls per second beside an empty method, and their p99."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import uvloop
from google.protobuf.json_format import ParseDict
from numpy.typing import NDArray

from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics
from shared.pb.freshet.v1.events_pb2 import Product
from shared.pb.freshet.v1.recommender_pb2 import STRATEGY_LEARNED, RecommendRequest, Wishes
from shared.process.settings import KafkaSettings
from tests.bench.calls import Load, message
from tests.bench.figures import BenchSettings, Figure, shown
from tests.bench.inference_with_empty import EMPTY
from tests.bench.log import fresh_kafka
from tests.bench.repeats import Spread, interleaved
from tests.bench.served_seconds import quantile_ms
from tests.bench.shop import histories, product_ids, user_ids, write_learned
from tests.support import states
from tests.support.inference import Inference, eventually, running
from tests.support.versions import announce

RECOMMEND = "/freshet.v1.RecommenderService/Recommend"
CONNECTIONS, IN_FLIGHT = 4, 8
PLAIN, WISHES = "Recommend", "Recommend with wishes"
# Half of the products or so meet the filter.
FILTER = {"all_of": {"filters": [{"category": {"values": ["things"]}}, {"price": {"at_most": 50}}]}}
WISHED = {"filter": FILTER, "diversity": 0.3, "explain": True, "productFields": "title,price"}


def run(settings: BenchSettings) -> list[Figure]:
    """Three figures each, without wishes and with: calls/s, and at half of them the p99, callers' and the server's."""
    products, users = (500, 50) if settings.quick else (10_000, 2_000)
    seconds, repeats = (0.3, 1) if settings.quick else (5.0, 5)
    with fresh_kafka(settings) as kafka:
        settings.say(f"{products:,} products, {users:,} users with 20 events each")
        stock(kafka, products, users)
        announce(kafka, write_learned(settings.folder / "models", products))
        with running(
            kafka, settings.folder, module="tests.bench.inference_with_empty", longest_queue_ms=60_000
        ) as inference:
            eventually(inference.serving)
            require_learned(inference, users)
            port = int(inference.address.rpartition(":")[2])
            wishes = {PLAIN: Wishes(), WISHES: ParseDict(WISHED, Wishes())}
            requests = {
                name: [message(RecommendRequest(user_id=u, wishes=each).SerializeToString()) for u in user_ids(users)]
                for name, each in wishes.items()
            }
            loads = {EMPTY: Load(port, EMPTY, requests[PLAIN], CONNECTIONS)} | {
                name: Load(port, RECOMMEND, each, CONNECTIONS) for name, each in requests.items()
            }
            rates = interleaved(
                {name: lambda load=load: uvloop.run(load.closed(seconds, IN_FLIGHT)) for name, load in loads.items()},
                repeats,
                say=settings.say,
            )
            figures: list[Figure] = []
            for name, wanted, wanted_ms, note in (
                (PLAIN, 0.25, 5.0, "both heads count"),
                (WISHES, 0.18, 8.0, "a filter that half of the products meet, diversity 0.3, reasons, two fields"),
            ):
                rate = rates[name].median
                settings.say(f"{name}: a call is due {rate / 2:,.0f} times a second")
                before = inference.metrics()
                quantiles = [
                    np.quantile(uvloop.run(loads[name].open(due(rate / 2, seconds, seed))), (0.5, 0.99)) * 1000
                    for seed in range(repeats)
                ]
                in_server = quantile_ms(before, inference.metrics(), "Recommend", 0.99)
                empty = statistics.median(
                    float(np.quantile(uvloop.run(loads[EMPTY].open(due(rate / 2, seconds, seed))), 0.99)) * 1000
                    for seed in range(repeats)
                )
                note = f"{rates[name]} beside {rates[EMPTY]}; {products:,} products, {users:,} users, {note}"
                figures += _figures(name, rates, wanted, wanted_ms, quantiles, in_server, empty, note)
    return figures


def _figures(
    name: str,
    rates: dict[str, Spread],
    wanted: float,
    wanted_ms: float,
    quantiles: Sequence[NDArray[np.float64]],
    in_server: float,
    empty: float,
    note: str,
) -> list[Figure]:
    p50, p99 = (statistics.median(float(each[n]) for each in quantiles) for n in range(2))
    spread = Spread([float(each[1]) for each in quantiles])
    return [
        Figure(
            name,
            rates[name].median,
            "calls/s",
            rates[EMPTY].median,
            "an empty method on the same server",
            wanted,
            at_least=True,
            note=f"{note}, {CONNECTIONS * IN_FLIGHT} calls on their way",
        ),
        Figure(
            f"{name}, p99 at half that load",
            p99,
            "ms",
            None,
            "",
            10.0,
            at_least=False,
            note=f"{spread}, p50 {shown(p50)}; an empty method's {shown(empty)}; from when each call was due, "
            "Poisson arrivals",
        ),
        Figure(
            f"{name}, p99 in the server at half that load",
            in_server,
            "ms",
            None,
            "",
            wanted_ms,
            at_least=False,
            note="from being taken in to the answer, by its own histogram",
        ),
    ]


def stock(kafka: KafkaSettings, products: int, users: int) -> None:
    """Products, and users with full histories."""
    stock_products(kafka, products)
    states.write(kafka, histories(users, products), tick_every=10_000)


def stock_products(kafka: KafkaSettings, products: int) -> None:
    """A catalogue."""
    producer = CountedProducer(producer_config(kafka))
    for n, product in enumerate(product_ids(products)):
        value = Product(
            product_id=product,
            title="A thing",
            categories=["Things", f"Kind {n % 20}", f"Sort {n % 200}"],
            brand=f"Maker {n % 300}",
            price=float(n % 100),
        )
        producer.send(Topics.of(kafka).products, key=product.encode(), value=value.SerializeToString())
    producer.flush(30)


def require_learned(inference: Inference, users: int) -> None:
    """Each answer is what is to be measured: ten products, learned."""
    for user in user_ids(users)[::100]:
        answer = inference.recommend(user)
        if answer.strategy != STRATEGY_LEARNED or len(answer.products) != 10:
            raise RuntimeError(f"{user} got {len(answer.products)} products by strategy {answer.strategy}")


def due(rate: float, seconds: float, seed: int) -> Sequence[float]:
    """Arrivals of a Poisson process."""
    rng = np.random.default_rng(seed)
    due: list[float] = np.cumsum(rng.exponential(1 / rate, max(1, int(rate * seconds)))).tolist()
    return due
