"""Snapshots: restored as written, whole or not at all; skipped where they do not fit; written by one process."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.inference.knowledge.catalogue import Catalogue
from services.inference.knowledge.knowledge import Knowledge
from services.inference.knowledge.snapshot import (
    KEPT,
    MANIFEST,
    TENSORS,
    Keeper,
    KnowledgeSnapshot,
    ListedProducts,
    ProductFigures,
    SnapshotOrigin,
    folders,
    read,
    write,
)
from services.inference.log.follower import Follower
from services.inference.metrics import InferenceMetrics
from shared.content.new_products import Discount
from shared.log.records import DAY_MS, masked_kinds_of
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.process.settings import KafkaSettings, load
from shared.state.histories import Histories
from shared.state.shop import ShopSettings
from shared.state.tally import NEIGHBOURS, Tally, partitions_of, room_of
from tests.support.processes import ROOT
from tests.support.states import shoppers

SETTINGS = load(ShopSettings, {"FRESHET_SHOP_HISTORY_LENGTH": "3"})
ORIGIN = SnapshotOrigin.of(SETTINGS, 2, states="c/s", products="c/p")
POSITIONS = {0: 7, 1: -1}


def metrics() -> InferenceMetrics:
    return InferenceMetrics(CollectorRegistry())


def fresh() -> Knowledge:
    histories = Histories(SETTINGS.history_length, masked_kinds_of(SETTINGS.masked_kinds))
    return Knowledge(histories, Tally(SETTINGS.trending_half_life_days * DAY_MS), 2)


def apply(knowledge: Knowledge, states: list[ev.StateVector], first: int = 0) -> None:
    for n, state in enumerate(states, start=first):
        state.kind = ev.EVENT_KIND_VIEW if n % 3 == 0 else state.kind
        state.source_offset, state.event_id = n, f"e{n}"
        knowledge.apply_once(state, n % 2)


def snapshot_of(
    knowledge: Knowledge, listed: ListedProducts | None = None, positions: Mapping[int, int] = POSITIONS
) -> KnowledgeSnapshot:
    return KnowledgeSnapshot.take(knowledge, ProductFigures.copy(knowledge), listed or ListedProducts(), positions)


def taken(events: int = 90) -> KnowledgeSnapshot:
    knowledge = fresh()
    apply(knowledge, list(shoppers(events)))
    return snapshot_of(knowledge)


def neighbours(knowledge: Knowledge, rows: Sequence[int | None]) -> list[list[tuple[str, int, int]]]:
    """Of each row, in each partition: which product, how often it followed, how often it came near."""
    t, result = knowledge.tally.arrays, []
    for row, q in itertools.product(rows, range(partitions_of(t))):
        start, size, slots = room_of(t.products[row, NEIGHBOURS + q])
        room = t.pairs[3 * start : 3 * (start + slots)].reshape(3, slots)[:, :size].T.tolist()
        result.append([(knowledge.catalogue.ids[product], *counts) for product, *counts in room])
    return result


def test_what_was_restored_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    states = list(shoppers(200))
    whole, first = fresh(), fresh()
    apply(whole, states)
    apply(first, states[:120])
    listed = ListedProducts()
    listed.upsert("p1")
    listed.remove("p2")
    first.catalogue.row_of("only a version's")
    folder = write(tmp_path, snapshot_of(first, listed), ORIGIN)
    snapshot = read(folder, ORIGIN)
    assert snapshot.positions == POSITIONS
    restored = snapshot.restore(ORIGIN)
    second = fresh()
    restored.hand_over(second)
    assert second.catalogue.ids == first.catalogue.ids
    assert second.catalogue.hidden_rows().tolist() == [first.catalogue.find("p2")]
    assert restored.listed.vanished() == {"p1"}, "listed once, and not read since"
    assert not second.apply_once(states[119], 1), "applied before the snapshot was taken"
    apply(second, states[120:], first=120)
    assert second.histories.users == whole.histories.users
    for user in whole.histories.users:
        row = whole.histories.row(user)
        assert row is not None
        ours = [(second.catalogue.ids[p], kind, ms, f.tolist()) for p, kind, ms, f in second.histories.recent(row)]
        theirs = [(whole.catalogue.ids[p], kind, ms, f.tolist()) for p, kind, ms, f in whole.histories.recent(row)]
        assert ours == theirs
        assert second.histories.events(row) == whole.histories.events(row)
        assert second.positions.newest_of(user) == whole.positions.newest_of(user)
        masks = [{k.catalogue.ids[p] for p in k.histories.masked(row).tolist()} for k in (second, whole)]
        assert masks[0] == masks[1]
    products = [second.catalogue.find(p) for p in whole.catalogue.ids]
    for counted in (Catalogue.events, Catalogue.first_event_ms):
        ours = counted(second.catalogue, len(second.catalogue))[products]
        assert ours.tolist() == counted(whole.catalogue, len(whole.catalogue)).tolist()
    assert second.view_reward == whole.view_reward != 0.0
    counted, expected = second.tally.to_arrays(), whole.tally.to_arrays()
    assert (second.tally.scores()[products] == whole.tally.scores()).all()
    assert counted["products"][products].tolist() == expected["products"].tolist(), "totals, and where rooms lie"
    assert neighbours(second, products) == neighbours(whole, [*range(len(products))])
    for name in ("totals", "pair_totals", "used", "users"):
        assert counted[name].tobytes() == expected[name].tobytes(), name
    assert second.positions.marks() == whole.positions.marks()


def test_what_was_learned_of_new_products_goes_on_too(tmp_path: Path) -> None:
    """Each title has eight products, all close to a new one of that title; some have events before the snapshot."""

    def put_all(knowledge: Knowledge) -> None:
        for n in range(80):
            knowledge.catalogue.upsert(ev.Product(product_id=f"p{n}", title=f"shelf{n % 10}"))

    def places(knowledge: Knowledge) -> list[float]:
        assert knowledge.places is not None
        scores = np.log(knowledge.shares())
        for _ in range(80):  # a few products get a place with each answer
            rows, more = knowledge.places.lend(scores.copy(), knowledge.shares())
        return [*rows.tolist(), *more.tolist()]

    states = list(shoppers(400, products=60))
    went_on, second = fresh(), fresh()
    put_all(went_on)
    apply(went_on, [state for state in states[:200] if int(state.product_id[1:]) < 40])
    places(went_on)
    apply(went_on, states[200:300], first=200)
    folder = write(tmp_path, snapshot_of(went_on), ORIGIN)
    read(folder, ORIGIN).restore(ORIGIN).hand_over(second)
    put_all(second)
    assert places(second) == places(went_on) != []
    for each in (second, went_on):
        apply(each, states[300:], first=300)
    assert places(second) == places(went_on) != []
    learned = [knowledge.catalogue.content.discount for knowledge in (second, went_on, fresh())]
    assert learned[0] == learned[1] != learned[2]


def test_no_answer_changes_what_is_being_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The array of new products' discounts grows during an answer, once a version knows more products."""
    copy = Discount.to_arrays
    answered = threading.Event()

    async def take() -> KnowledgeSnapshot:
        loop = asyncio.get_running_loop()

        def answer() -> None:
            knowledge.catalogue.content._discount._grow_to(5_000)
            answered.set()

        def copy_while_one_asks(discount: Discount, products: int) -> dict[str, np.ndarray]:
            loop.call_soon_threadsafe(answer)
            assert not answered.wait(0.3), "an answer came between"
            return copy(discount, products)

        monkeypatch.setattr(Discount, "to_arrays", copy_while_one_asks)
        follower = Follower(
            knowledge,
            load(KafkaSettings, {}),
            loop,
            metrics(),
            keeper=lambda _: None,
            on_begun=lambda: None,
            on_ready=lambda: None,
            on_failure=lambda _: None,
        )
        return await asyncio.to_thread(follower._snapshot)

    knowledge = fresh()
    apply(knowledge, list(shoppers(90)))
    snapshot = asyncio.run(take())
    assert answered.is_set(), "answers go on once it is copied"
    assert snapshot.arrays["content/due"].shape == (len(knowledge.catalogue),)


def test_an_empty_one_is_restored_empty(tmp_path: Path) -> None:
    folder = write(tmp_path, snapshot_of(fresh(), positions={0: -1, 1: -1}), ORIGIN)
    restored = read(folder, ORIGIN).restore(ORIGIN)
    assert (restored.histories.users, restored.products, restored.listed.removed) == ([], [], set())


def test_a_removal_that_nobody_read_is_told_by_what_the_topic_no_longer_holds() -> None:
    listed = ListedProducts(before=["stays", "gone", "removed", "back"], removed=["old", "back again"])
    listed.upsert("stays")
    listed.remove("removed")
    listed.upsert("new")
    listed.upsert("back again")
    listed.remove("back")
    listed.upsert("back")
    assert listed.vanished() == {"gone"}
    assert listed.vanished() == set()
    assert listed.removed == {"old", "removed", "gone"}


def damage(folder: Path) -> None:
    with (folder / TENSORS).open("r+b") as file:
        file.seek(-9, 2)
        file.write(b"\x07")


def shorten(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-1])


def move_on(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["body"]["positions"]["0"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage, "knowledge.safetensors is not what manifest.json says"),
        (shorten, "Expecting"),
        (move_on, "manifest.json is damaged"),
        (lambda folder: (folder / TENSORS).unlink(), "No such file"),
    ],
)
def test_a_damaged_snapshot_is_skipped_for_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: object, message: str
) -> None:
    assert callable(harm)
    older, newer = (write(tmp_path, taken(events), ORIGIN) for events in (30, 60))
    keeper = Keeper(tmp_path, ORIGIN, 10, metrics())
    harm(newer)
    snapshot = keeper.newest()
    assert snapshot is not None
    assert snapshot.arrays["counts"].sum() == 30
    [line] = caplog.messages
    assert message in line
    assert line.endswith("continuing from the one before")
    caplog.clear()
    harm(older)
    assert keeper.newest() is None
    [line] = caplog.messages
    assert line.endswith("reading the whole log")


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (replace(ORIGIN, states="c/other"), "states was c/s, now it is c/other"),
        (replace(ORIGIN, products="c/other"), "products was c/p, now it is c/other"),
        (replace(ORIGIN, history_length=4), "history_length was 3, now it is 4"),
        (replace(ORIGIN, masked_kinds=(1,)), "masked_kinds was"),
        (replace(ORIGIN, trending_half_life_days=7.0), "trending_half_life_days was 30.0, now it is 7.0"),
        (replace(ORIGIN, tally_megabytes=7), "tally_megabytes was 512, now it is 7"),
        (replace(ORIGIN, tally="other pairs"), "now it is other pairs"),
        (replace(ORIGIN, partitions=3), "partitions was 2, now it is 3"),
        (replace(ORIGIN, event_features=("rating",)), "event_features was"),
        (replace(ORIGIN, schema_version=9), "schema_version was"),
    ],
)
def test_one_of_another_log_or_other_settings_is_left_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, now: SnapshotOrigin, message: str
) -> None:
    write(tmp_path, taken(), ORIGIN)
    with caplog.at_level(logging.WARNING):
        assert Keeper(tmp_path, now, 10, metrics()).newest() is None
    [line] = caplog.messages
    assert message in line


def test_the_order_of_the_masked_kinds_is_nobodys_business() -> None:
    other = load(
        ShopSettings,
        {"FRESHET_SHOP_HISTORY_LENGTH": "3", "FRESHET_SHOP_MASKED_KINDS": "dislike,rating,review"},
    )
    assert SnapshotOrigin.of(other, 2, states="c/s", products="c/p") == ORIGIN


def test_two_are_kept(tmp_path: Path) -> None:
    made = [write(tmp_path, taken(events), ORIGIN) for events in (10, 20, 30)]
    assert folders(tmp_path) == made[-KEPT:]
    assert KEPT == 2


def test_one_process_writes_and_another_takes_over_when_it_ends(tmp_path: Path) -> None:
    one, other = (Keeper(tmp_path, ORIGIN, 10, metrics(), clock=lambda: 0.0) for _ in range(2))
    one.take_last(1, taken)
    other.take_last(1, taken)
    assert len(folders(tmp_path)) == 1
    one.close()
    other.take_last(1, taken)
    assert len(folders(tmp_path)) == 2
    other.close()


def test_one_is_taken_when_enough_was_applied_and_the_last_is_some_time_ago(tmp_path: Path) -> None:
    now = [0.0]
    taken_at: list[int] = []

    def take(applied: int) -> KnowledgeSnapshot:
        taken_at.append(applied)
        now[0] += 1.0  # how long it takes
        return taken(5)

    keeper = Keeper(tmp_path, ORIGIN, 10, metrics(), clock=lambda: now[0])

    def turn(applied: int) -> None:
        keeper.take_if_due(applied, lambda: take(applied))
        if keeper._writing is not None:
            keeper._writing.join()

    for applied in (9, 10, 11, 19, 20, 40):
        turn(applied)
    assert taken_at == [10], "the first took a second, and rests twenty"
    now[0] += 20.0
    turn(41)
    assert taken_at == [10, 41]
    keeper.take_last(41, lambda: take(41))
    assert taken_at == [10, 41], "nothing was applied since"
    keeper.take_last(42, lambda: take(42))
    assert taken_at == [10, 41, 42]
    keeper.close()


def test_a_disk_that_is_full_costs_the_snapshot_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    keeper = Keeper(tmp_path, ORIGIN, 10, metrics())
    keeper.take_last(1, taken)
    monkeypatch.setattr("services.inference.knowledge.snapshot.write", full)
    keeper.take_last(2, taken)
    assert "No space left on device; free some space; the one before stays" in caplog.text
    monkeypatch.undo()
    assert len(folders(tmp_path)) == 1
    keeper.take_last(2, taken)
    assert len(folders(tmp_path)) == 2
    keeper.close()


WRITING = """
from pathlib import Path
from services.inference.knowledge.snapshot import write
from tests.unit.services.inference.test_snapshot import ORIGIN, taken
snapshot = taken()
while True:
    write(Path({root!r}), snapshot, ORIGIN)
"""


def test_killed_while_it_writes_there_is_a_whole_one(tmp_path: Path) -> None:
    code = WRITING.format(root=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        while len(folders(tmp_path)) < KEPT and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (tmp_path / ".snapshot-000000000001.tmp").mkdir(exist_ok=True)  # as if it had been in the middle
    assert Keeper(tmp_path, ORIGIN, 10, metrics()).newest() is not None
    write(tmp_path, taken(), ORIGIN)
    assert read(folders(tmp_path)[-1], ORIGIN).arrays["counts"].sum() == 90
