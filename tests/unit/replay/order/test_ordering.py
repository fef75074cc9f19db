"""Datasets in event-time order: stable, without copies, kept, and out of core."""

from __future__ import annotations

import gzip
import json
import random
import threading
from pathlib import Path

import pytest

from replay.order.ordered_copy import Selection
from replay.order.ordering import fingerprint_of, user_point
from replay.reading.mapping import ColumnMapping, Columns, FileRules, KindRules
from shared.process.errors import Unusable
from shared.process.terminal import Stopped
from tests.support import snap
from tests.support.snap import DAY_SECONDS, FIRST_SECONDS, everything, ordered, review

NOON = FIRST_SECONDS + DAY_SECONDS // 2


def texts(path: Path, state_dir: Path) -> list[str]:
    copy = ordered(path, state_dir)
    return [stored.event.text for stored in copy.events(Selection(), everything(copy))]


def test_by_time_then_by_line_numbered_from_one(tmp_path: Path) -> None:
    days = [5, 1, 5, 0, 1, 9, 5]
    path = snap.write(
        tmp_path / "r.gz",
        [review(n, unixReviewTime=FIRST_SECONDS + day * DAY_SECONDS, summary="") for n, day in enumerate(days)],
    )
    copy = ordered(path, tmp_path / "state")
    result = list(copy.events(Selection(), everything(copy)))
    assert [stored.event.text for stored in result] == [f"It is number {n}." for n in (3, 1, 4, 0, 2, 6, 5)]
    assert [stored.sequence for stored in result] == [1, 2, 3, 4, 5, 6, 7]
    assert everything(copy) == (7, 1, 7, FIRST_SECONDS * 1000, (FIRST_SECONDS + 9 * DAY_SECONDS) * 1000)


def test_the_events_of_a_day_are_spread_over_it(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [review(n, unixReviewTime=FIRST_SECONDS) for n in range(4)] + [review(1)])
    copy = ordered(path, tmp_path / "state")
    result = list(copy.events(Selection(), everything(copy)))
    assert [(s.spread_ms / 1000 - FIRST_SECONDS) / DAY_SECONDS for s in result] == [0, 0.25, 0.5, 0.75, 1]
    assert [s.event.event_time_ms for s in result[:4]] == [FIRST_SECONDS * 1000] * 4


def test_where_not_all_times_are_whole_days_those_of_a_second_are_spread_over_it(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [review(0), review(1, unixReviewTime=NOON), review(2, unixReviewTime=NOON)])
    copy = ordered(path, tmp_path / "state")
    result = list(copy.events(Selection(), everything(copy)))
    assert [s.spread_ms / 1000 - FIRST_SECONDS for s in result] == [0, DAY_SECONDS / 2, DAY_SECONDS / 2 + 0.5]


def test_exact_copies_are_left_out_and_counted(tmp_path: Path) -> None:
    once, changed = review(1), review(1, summary="Better")
    copy = ordered(snap.write(tmp_path / "r", [once, changed, review(0), once, once]), tmp_path / "state")
    assert [s.event.text[:4] for s in copy.events(Selection(), everything(copy))] == ["Good", "Good", "Bett"]
    assert (copy.summary.reviews.accepted, copy.summary.reviews.repeats) == (5, 2)


def test_lines_left_out_are_counted_and_named_with_line_and_reason(tmp_path: Path) -> None:
    path = snap.write(
        tmp_path / "r.gz",
        [
            review(0),
            b"",
            review(1, reviewerID=None),
            b'{"cut',
            review(2),
            review(3, overall=9),
            b"[" + b" " * 3000 + b"]",
        ],
    )
    copy = ordered(path, tmp_path / "state", most_line_bytes=2048)
    summary = copy.summary.reviews
    assert (summary.lines, summary.accepted) == (6, 2)
    assert summary.rejected == {"no_user": 1, "not_json": 1, "bad_rating": 1, "too_long": 1}
    rows = [line.split("\t")[:3] for line in (copy.folder / "rejected.tsv").read_text().splitlines()]
    assert rows == [
        ["file", "line", "reason"],
        ["r.gz", "3", "no_user"],
        ["r.gz", "4", "not_json"],
        ["r.gz", "6", "bad_rating"],
        ["r.gz", "7", "too_long"],
    ]


def test_prices_come_from_the_metadata_and_its_last_line_counts(tmp_path: Path) -> None:
    reviews = snap.write(tmp_path / "r", [review(0), review(1), review(2)])
    goods = [
        {"asin": "B0", "price": 1.0},
        {"asin": "B1", "price": "$2.50"},
        {"asin": "B0", "price": 3.0, "title": "It's new"},
        {"title": "nobody"},
        {"asin": "B7"},
    ]
    copy = ordered(reviews, tmp_path / "state", snap.write(tmp_path / "m", goods, loose=True))
    result = [s.event for s in copy.events(Selection(), everything(copy))]
    assert [event.price if event.HasField("price") else None for event in result] == [3.0, 2.5, None]
    assert [p.product_id for p in copy.products()] == ["B1", "B0", "B7"]
    assert copy.summary.metadata is not None
    assert copy.summary.metadata.rejected == {"no_product": 1}


def test_the_price_of_a_sale_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(f"sku,at,price\nB0,{FIRST_SECONDS},9.5\nB0,{FIRST_SECONDS + 1},\n")
    mapping = ColumnMapping(
        columns=Columns(product="sku", time="at", price="price"), kind=KindRules(default="purchase")
    )
    copy = ordered(path, tmp_path / "state", snap.write(tmp_path / "m", [{"asin": "B0", "price": 7}]), mapping=mapping)
    assert [s.event.price for s in copy.events(Selection(), everything(copy))] == [9.5, 7.0]


def test_a_second_replay_reads_the_copy_and_another_file_has_its_own(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", snap.shop(20))
    first = ordered(path, tmp_path / "state")
    marker = first.folder / "marker"
    marker.touch()
    path.rename(tmp_path / "elsewhere")
    again = ordered(tmp_path / "elsewhere", tmp_path / "state")
    assert again.folder == first.folder
    assert marker.exists()
    snap.write(path, snap.shop(21))
    assert ordered(path, tmp_path / "state").folder != first.folder
    assert len({fingerprint_of(["a", "b"], 1), fingerprint_of(["a"], 1), fingerprint_of(["a", "b"], 2)}) == 3


def test_a_sample_of_users_holds_all_their_events_and_the_sequences_of_the_whole(tmp_path: Path) -> None:
    copy = ordered(snap.write(tmp_path / "r", snap.shop(400, users=100)), tmp_path / "state")
    whole = list(copy.events(Selection(), everything(copy)))
    some = Selection(users_share=0.3)
    extent = copy.extent(some)
    sampled = list(copy.events(some, extent))
    chosen = {f"A{n}" for n in range(100) if user_point(f"A{n}") < 0.3}
    assert 15 < len(chosen) < 45
    assert sampled == [s for s in whole if s.event.user_id in chosen]
    assert extent[:3] == (len(sampled), sampled[0].sequence, sampled[-1].sequence)


def test_a_sample_of_users_holds_each_event_of_a_guest_by_itself(tmp_path: Path) -> None:
    lines = [f"{f'u{n}' if n < 500 else ''},p,{FIRST_SECONDS + n}" for n in range(1000)]
    path = tmp_path / "shop.csv"
    path.write_text("\n".join(["user,product,time", *lines]))
    mapping = ColumnMapping(
        columns=Columns(user="user", product="product", time="time"), kind=KindRules(default="view")
    )
    copy = ordered(path, tmp_path / "state", mapping=mapping)
    some = Selection(users_share=0.3)
    sampled = [s.event for s in copy.events(some, copy.extent(some))]
    assert 115 < sum(event.user_id == "" for event in sampled) < 185
    assert {event.user_id for event in sampled} - {""} == {f"u{n}" for n in range(500) if user_point(f"u{n}") < 0.3}
    assert everything(copy).events == 1000


def test_another_mapping_is_another_dataset(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text(f"a,b,{FIRST_SECONDS}\n" * 2 + f"a,c,{FIRST_SECONDS - 1}\n")
    mappings = [
        ColumnMapping(
            columns=Columns(user=user, product=product, time=3),
            file=FileRules(header=False),
            kind=KindRules(default="view"),
        )
        for user, product in ((1, 2), (2, 1))
    ]
    one, other, again = (ordered(path, tmp_path / "state", mapping=mapping) for mapping in (*mappings, mappings[0]))
    assert one.folder == again.folder != other.folder
    for copy, ids in ((one, [("a", "c"), ("a", "b")]), (other, [("c", "a"), ("b", "a")])):
        assert [(s.event.user_id, s.event.product_id) for s in copy.events(Selection(), everything(copy))] == ids
        assert copy.summary.reviews.repeats == 1
        assert copy.summary.reviews.format == "a CSV by its mapping"


def test_a_range_of_time_and_a_position_in_it(tmp_path: Path) -> None:
    copy = ordered(snap.write(tmp_path / "r", snap.shop(5000)), tmp_path / "state")
    first = (FIRST_SECONDS + 100 * DAY_SECONDS) * 1000
    some = Selection(from_ms=first, until_ms=first + 500 * DAY_SECONDS * 1000)
    extent = copy.extent(some)
    assert extent[:3] == (2500, 501, 3000)
    assert [s.sequence for s in copy.events(some, extent)] == list(range(501, 3001))
    assert [s.sequence for s in copy.events(some, extent, 2997)] == [2998, 2999, 3000]
    assert (copy.count_up_to(some, 500), copy.count_up_to(some, 510), copy.count_up_to(some, 9999)) == (0, 10, 2500)


def test_nothing_selected_is_refused_with_what_there_is(tmp_path: Path) -> None:
    copy = ordered(snap.write(tmp_path / "r", snap.shop(10)), tmp_path / "state")
    with pytest.raises(Unusable, match="spans 2011-03-14 to 2011-03-15"):
        copy.extent(Selection(from_ms=(NOON + 5 * DAY_SECONDS) * 1000))


def test_a_file_without_one_usable_line_is_refused_with_reasons(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [b"a,b,c", b"\x00", b'{"cut'])
    with pytest.raises(Unusable, match=r"line 1: is not JSON.*line 2: holds NUL.*read as reviews of 2014 or 2018"):
        ordered(path, tmp_path / "state")
    (tmp_path / "short.gz").write_bytes(gzip.compress(b"x" * 1000)[:12])
    with pytest.raises(Unusable, match="breaks off after line 0"):
        ordered(tmp_path / "short.gz", tmp_path / "state")
    assert not list((tmp_path / "state").iterdir())


def test_a_truncated_gzip_is_used_as_far_as_it_goes_and_said_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(1)
    lines = [review(n, reviewText=rng.randbytes(40).hex()) for n in range(500)]
    path = snap.write(tmp_path / "r.gz", lines)
    path.write_bytes(path.read_bytes()[:-2000])
    for _ in range(2):
        caplog.clear()
        copy = ordered(path, tmp_path / "state")
        assert 400 < everything(copy).events < 500
        assert f"breaks off after line {everything(copy).events:,}" in caplog.text
        assert "WARNING" in caplog.text


def test_stopped_it_leaves_nothing_behind(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        ordered(snap.write(tmp_path / "r", snap.shop(10)), tmp_path / "state", stop=stop)
    assert not (tmp_path / "state").exists()


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", snap.shop(10))
    folder = ordered(path, tmp_path / "state").folder
    left = folder.with_name(f".{folder.name}.tmp")
    folder.rename(left)
    assert everything(ordered(path, tmp_path / "state")).events == 10
    assert not left.exists()


def test_a_damaged_copy_says_what_to_do(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", snap.shop(10))
    folder = ordered(path, tmp_path / "state").folder
    (folder / "summary.json").write_text("{")
    with pytest.raises(Unusable, match="delete it"):
        ordered(path, tmp_path / "state")


def test_more_than_memory_holds_is_sorted_on_disk(tmp_path: Path) -> None:
    rng = random.Random(2)
    with (tmp_path / "r").open("w") as sink:
        for n in range(20_000):
            day = rng.randrange(3000)
            text = rng.randbytes(2000).hex()
            sink.write(json.dumps(review(n, reviewText=text, unixReviewTime=FIRST_SECONDS + day * DAY_SECONDS)) + "\n")
    copy = ordered(tmp_path / "r", tmp_path / "state", ordering_memory_mb=64)
    times = [s.event.event_time_ms for s in copy.events(Selection(), everything(copy))]
    assert len(times) == 20_000
    assert times == sorted(times)


def test_what_lies_after_a_time_is_counted(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [review(n, reviewerID=f"A{n % 2}") for n in (0, 1, 5, 9)])
    copy, day_5 = ordered(path, tmp_path / "state"), (FIRST_SECONDS + 5 * DAY_SECONDS) * 1000
    assert copy.later_than(Selection(), day_5) == (1, day_5 + 4 * DAY_SECONDS * 1000)
    assert copy.later_than(Selection(), day_5 - 1) == (2, day_5)
    assert copy.later_than(Selection(until_ms=day_5), day_5 - 1) is None
    assert copy.newest_ms(Selection(), day_5) == day_5
    assert copy.newest_ms(Selection(), day_5 - 1) == (FIRST_SECONDS + DAY_SECONDS) * 1000
    assert copy.newest_ms(Selection(from_ms=day_5), day_5 - 1) == 0


def test_real_reviews(data: Path, tmp_path: Path) -> None:
    beauty = ordered(data / "amazon-2018/All_Beauty_5.json.gz", tmp_path / "state").summary
    assert (beauty.reviews.lines, beauty.reviews.repeats, beauty.tables.events) == (5269, 1027, 4242)
    cards = ordered(
        data / "amazon-2018/Gift_Cards_5.json.gz", tmp_path / "state", data / "amazon-2018/meta_Gift_Cards.json.gz"
    )
    assert (cards.summary.tables.events, cards.summary.tables.products) == (2972, 1547)
    assert sum(s.event.HasField("price") for s in cards.events(Selection(), everything(cards))) == 2519
