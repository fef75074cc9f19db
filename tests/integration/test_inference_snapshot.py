"""A start from a snapshot, beside one that reads the whole log: the same in every answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from services.inference.knowledge import snapshot
from services.inference.knowledge.snapshot import LISTED, KnowledgeSnapshot, SnapshotOrigin
from shared.log.clients import partition_of
from shared.log.topics import Topics, log_identity
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.settings import KafkaSettings, load
from shared.state.shop import ShopSettings
from tests.support import states
from tests.support.inference import Inference, eventually, running
from tests.support.states import review, shoppers
from tests.support.versions import announce, tiny_version
from tests.support.writing import writer

USERS, PRODUCTS = 30, 20
EVENTS = 300
ALL = pb.Wishes(count=1000, explain=True)


def change(kafka: KafkaSettings, *products: ev.Product, removed: Sequence[str] = ()) -> None:
    """Upsert products and remove others, as records of their topic."""
    producer = writer(kafka)
    topic = Topics.of(kafka).products
    for product in products:
        producer.send(topic, key=product.product_id.encode(), value=product.SerializeToString())
    for product_id in removed:
        producer.send(topic, key=product_id.encode(), value=None)
    producer.flush(20)


def live(kafka: KafkaSettings, user: str, product: str, event_id: str, offset: int) -> None:
    """What features writes for a shop's own event."""
    state = review(user, product, 500)
    state.kind, state.event_id = ev.EVENT_KIND_VIEW, event_id
    partition = partition_of(user.encode(), kafka.partitions)
    state.source_partition, state.source_offset = partition, offset
    producer = writer(kafka)
    producer.send(Topics.of(kafka).states, key=user.encode(), value=state.SerializeToString(), partition=partition)
    producer.flush(20)


def answers(inference: Inference) -> dict[str, Any]:
    """The answers for every user and product, without the fields that differ from call to call."""
    stub = inference.stub
    users = [*(f"u{n}" for n in range(USERS)), "live", "late", "nobody"]
    aged = pb.Filter(age=pb.AgeRange(at_least_days=1))
    results: dict[str, Any] = {}
    for answer in stub.BatchRecommend(pb.BatchRecommendRequest(user_ids=users, wishes=ALL), timeout=20):
        results[f"batch {answer.user_id}"] = recommended(answer.response)
    for user in users:
        request = pb.RecommendRequest(user_id=user, wishes=ALL, session_product_ids=["p2", "p8"])
        results[f"recommend {user}"] = recommended(inference.recommend(user, count=1000))
        results[f"session {user}"] = recommended(stub.Recommend(request, timeout=20))
        try:
            results[f"user {user}"] = str(stub.GetUser(pb.GetUserRequest(user_id=user), timeout=20))
        except grpc.RpcError as error:
            results[f"user {user}"] = error.code()
    known = stub.ListUsers(pb.ListUsersRequest(page_size=1000), timeout=20).users
    results["users"] = sorted((user.user_id, user.events, user.newest_ms, user.user_class) for user in known)
    listed = stub.ListProducts(pb.ListProductsRequest(page_size=1000), timeout=20)
    results["products"] = str(listed)
    for product in listed.products:
        product_request = pb.GetProductRequest(product_id=product.product_id)
        response = stub.GetProduct(product_request, timeout=20)
        results[f"product {product.product_id}"] = (response.events, round(response.share, 6), response.first_event_ms)
        alike = stub.SimilarProducts(pb.SimilarProductsRequest(product_id=product.product_id, wishes=ALL), timeout=20)
        results[f"similar {product.product_id}"] = {p.product_id: round(p.score, 3) for p in alike.products}
    for name, wishes in (("all", ALL), ("aged", pb.Wishes(count=1000, filter=aged))):
        answer = stub.Trending(pb.TrendingRequest(wishes=wishes), timeout=20)
        results[f"trending {name}"] = {p.product_id: round(p.score, 4) for p in answer.products}
    metrics = inference.metrics()
    for name in ("users", "products"):
        results[f"metric {name}"] = metrics[f"freshet_inference_{name}"]
    return results


def recommended(answer: pb.RecommendResponse) -> tuple[Any, ...]:
    """An answer, without the order of products that score alike."""
    scores = {product.product_id: round(product.score, 4) for product in answer.products}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    reasons = {
        (product.product_id, reason.part): (round(reason.score, 3), [event.product_id for event in reason.events])
        for product in answer.products
        for reason in product.reasons
    }
    return scores, reasons, answer.strategy, answer.fallback, answer.model_version, str(answer.position)


def repeats(inference: Inference) -> float:
    return inference.metrics()["freshet_inference_repeats_total"]


@pytest.fixture
def log(kafka: KafkaSettings, tmp_path: Path) -> KafkaSettings:
    """A shop's log, and a version learned from it."""
    change(
        kafka,
        *(ev.Product(product_id=f"p{n}", title="A thing") for n in range(10)),
        ev.Product(product_id="p3", unavailable=True),
        ev.Product(product_id="new"),
        ev.Product(product_id="brief"),
        removed=["p4", "brief"],
    )
    states.write(kafka, shoppers(EVENTS, users=USERS, products=PRODUCTS))
    live(kafka, "live", "p0", "e-0", 10_000)
    version = tiny_version(tmp_path / "models", "v1", {f"p{n}": 0.3 * n for n in range(PRODUCTS)}, vectors=0.5)
    announce(kafka, version)
    return kafka


def serving_v1(inference: Inference) -> Inference:
    eventually(lambda: inference.serving() == "v1")
    return inference


def snapshot_of(kafka: KafkaSettings, folder: Path) -> None:
    """Run and stop a service, which leaves a snapshot behind."""
    with running(kafka, folder, state_dir=folder / "state") as inference:
        serving_v1(inference)
        assert inference.metrics()["freshet_inference_restored_users"] == 0
        assert inference.stop() == 0, inference.log
    assert len(snapshot.folders(folder / "state")) == 1


def compare(kafka: KafkaSettings, folder: Path) -> tuple[str, float, float]:
    """Compare a start from the snapshot with one that reads the whole log; the first's log, and the repeats of both."""
    with running(kafka, folder, state_dir=folder / "state") as inference:
        restored, log, seen = answers(serving_v1(inference)), inference.log, repeats(inference)
    with running(kafka, folder) as inference:
        assert restored == answers(serving_v1(inference))
        return log, seen, repeats(inference)


@pytest.mark.slow
def test_every_answer_is_as_after_reading_all(log: KafkaSettings, tmp_path: Path) -> None:
    snapshot_of(log, tmp_path)
    # While no service runs: new and repeated events; products added, removed, listed again and sold out.
    states.write(log, shoppers(EVENTS + 100, users=USERS, products=PRODUCTS))  # features repeats its last batch
    live(log, "live", "p0", "e-0", 10_001)  # a client retries
    live(log, "live", "p7", "e-1", 10_002)
    live(log, "late", "p6", "e-2", 9_000)
    change(
        log,
        ev.Product(product_id="p3"),
        ev.Product(product_id="p4"),
        ev.Product(product_id="p5", unavailable=True),
        ev.Product(product_id="newer"),
        removed=["new", "p6"],
    )
    lines, seen, seen_by_the_other = compare(log, tmp_path)
    assert f"restored {USERS + 1} users" in lines
    assert "can't use" not in lines
    assert seen >= EVENTS + 1, "the states of the events that were applied before, and the retry"
    assert seen == seen_by_the_other, "what was applied before the snapshot was not read again"


@pytest.mark.slow
def test_a_removal_that_compaction_took_out_of_the_log_counts(log: KafkaSettings, tmp_path: Path) -> None:
    snapshot_of(log, tmp_path)

    def list_p12(taken: KnowledgeSnapshot) -> KnowledgeSnapshot:
        """As if the topic had held p12 at the time of the snapshot."""
        records = taken.arrays["products_said"].copy()
        records[taken.arrays["product_ids"].tobytes().decode().split("\n").index("p12")] = LISTED
        return replace(taken, arrays={**taken.arrays, "products_said": records})

    rewrite(log, tmp_path / "state", list_p12)
    with running(log, tmp_path, state_dir=tmp_path / "state") as inference:
        assert "p12" not in {p.product_id for p in inference.recommend("nobody", count=1000).products}
        assert inference.stop() == 0
    with running(log, tmp_path, state_dir=tmp_path / "state") as inference:
        assert "p12" not in {p.product_id for p in inference.recommend("nobody", count=1000).products}


def rewrite(kafka: KafkaSettings, root: Path, change: Callable[[KnowledgeSnapshot], KnowledgeSnapshot]) -> None:
    """Write a changed copy of the newest snapshot."""
    topics = Topics.of(kafka)
    origin = SnapshotOrigin.of(
        load(ShopSettings, {}),
        kafka.partitions,
        states=log_identity(kafka, topics.states),
        products=log_identity(kafka, topics.products),
    )
    taken = snapshot.read(snapshot.folders(root)[-1], origin)
    snapshot.write(root, change(taken), origin)


def beyond(kafka: KafkaSettings, root: Path) -> None:
    rewrite(kafka, root, lambda taken: replace(taken, positions={p: n + 10_000 for p, n in taken.positions.items()}))


def damaged(_: KafkaSettings, root: Path) -> None:
    [folder] = snapshot.folders(root)
    content = bytearray((folder / snapshot.TENSORS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / snapshot.TENSORS).write_bytes(content)


def elsewhere(_: KafkaSettings, root: Path) -> None:
    """Make the snapshot look like another cluster's."""
    [folder] = snapshot.folders(root)
    manifest = json.loads((folder / snapshot.MANIFEST).read_text())
    body = manifest["body"]
    body["origin"]["states"] = "other/topic"
    (folder / snapshot.MANIFEST).write_text(json.dumps({"sha256": snapshot._sha256_of(body), "body": body}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (beyond, "the log no longer holds what follows it"),
        (damaged, "knowledge.safetensors is not what manifest.json says"),
        (elsewhere, "states was other/topic, now it is "),
    ],
)
def test_an_unusable_snapshot_is_skipped_and_the_whole_log_is_read(
    log: KafkaSettings, tmp_path: Path, harm: Callable[[KafkaSettings, Path], None], why: str
) -> None:
    snapshot_of(log, tmp_path)
    harm(log, tmp_path / "state")
    lines, _, _ = compare(log, tmp_path)
    [line] = [line for line in lines.splitlines() if "can't use" in line]
    assert why in line
    assert line.endswith("reading the whole log")
    assert "restored" not in lines


@pytest.mark.slow
def test_one_is_written_while_calls_are_answered(log: KafkaSettings, tmp_path: Path) -> None:
    with running(log, tmp_path, state_dir=tmp_path / "state", snapshot_events=50) as inference:
        states.write(log, shoppers(60), source="more/0", first_offset=20_000)
        eventually(lambda: inference.metrics()["freshet_inference_snapshots_total"] >= 1)
        inference.process.kill()
    assert np.sum([len(snapshot.folders(tmp_path / "state"))]) >= 1
    with running(log, tmp_path, state_dir=tmp_path / "state") as inference:
        assert inference.metrics()["freshet_inference_restored_users"] > 0


def test_a_folder_that_can_not_be_written_is_refused_by_its_setting(kafka: KafkaSettings, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    with (
        pytest.raises(AssertionError, match="FRESHET_INFERENCE_STATE_DIR"),
        running(kafka, tmp_path, state_dir=tmp_path / "state"),
    ):
        pass
