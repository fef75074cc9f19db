"""`freshet evaluate` as a person calls it."""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from replay.order.ordered_copy import Selection
from services.lab.datasets import Dataset, Describing, read_dataset
from shared.log.records import DAY_MS
from shared.model.single_experts import SINGLE_EXPERTS
from shared.process.errors import Unusable
from shared.process.terminal import Terminal
from tests.support import console
from tests.support.console import Done
from tests.support.states import shoppers

SIMPLE = "trending,repeat,markov"


def freshet(folder: Path, *words: str, **environ: str) -> Done:
    """`freshet evaluate` in this process."""
    return console.freshet(folder, "evaluate", *words, **environ)


def in_a_process_of_its_own(folder: Path, *words: str) -> Done:
    return console.in_a_process_of_its_own(folder, "evaluate", *words)


def evaluated(folder: Path, *words: str, **environ: str) -> dict[str, Any]:
    """The JSON of a run that went well."""
    done = freshet(folder, *words, "--json", "out.json", **environ)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return document


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Reviews as SNAP publishes them, whole days, by users who mostly buy the next product on the shelf."""
    path = tmp_path / "reviews.json.gz"
    with gzip.open(path, "wt") as sink:
        for state in shoppers(400, users=40, products=300):
            review = {
                "reviewerID": state.user_id,
                "asin": state.product_id,
                "overall": 4.0,
                "reviewText": "Works well.",
                "unixReviewTime": state.event_time_ms // 86_400_000 * 86_400,
                "helpful": [1, 2],
            }
            sink.write(json.dumps(review) + "\n")
    return path


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """After x comes y, for all but the first user's last; the learner sees it twice."""
    path = tmp_path / "sequences.txt"
    path.write_text("u1 a b x y\nu2 b x y c d\nu3 a x y d c b\nu4 x y\n")
    return path


def test_a_table_for_people_and_the_command_to_have_it_again(reviews: Path, tmp_path: Path) -> None:
    words = (reviews.name, "--policies", SIMPLE, "--seed", "3", "--parquet", "rows.parquet", "--json", "out.json")
    done = freshet(tmp_path, *words, FRESHET_FEATURES_PRICE_MAXIMUM="500")
    assert done.returncode == 0, done.stderr
    command = f"FRESHET_FEATURES_PRICE_MAXIMUM=500 freshet evaluate {' '.join(words)}"
    lines = done.stdout.splitlines()
    assert lines[0] == "reviews.json.gz: prequential"
    assert lines[-2:] == ["seed 3; command:", f"  {command}"]
    assert "ndcg@10, beside" in done.stdout
    assert max(map(len, lines[:-1])) <= 120
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["command"] == command
    assert set(document["policies"]) == set(SIMPLE.split(","))
    assert len(rows) == 3 * document["judged"]
    markov = rows[rows.policy == "markov"]
    assert markov["ndcg@10"].mean() == pytest.approx(document["policies"]["markov"]["ndcg@10"]["mean"])
    assert set(rows.user) <= {f"u{n}" for n in range(40)}
    assert rows["product"].str.fullmatch(r"p\d+").all()
    estimate = document["policies"]["markov"]["ndcg@10"]
    assert estimate["low"] < estimate["mean"] < estimate["high"]
    assert estimate["mean"] > document["policies"]["trending"]["ndcg@10"]["high"]


def test_each_expert_of_freshet_is_judged_alone_and_its_regret_is_told(reviews: Path, tmp_path: Path) -> None:
    words = ("--policies", "trending,freshet", "--warm-up", "0.25", "--parquet", "rows.parquet", "--json", "out.json")
    done = freshet(tmp_path, reviews.name, *words)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    experts, regrets = document["experts"], document["regret"]
    assert (experts["of"], set(experts["ndcg@10"])) == ("freshet", set(SINGLE_EXPERTS))
    best, served = experts["ndcg@10"][experts["best"]]["mean"], document["policies"]["freshet"]["ndcg@10"]["mean"]
    assert best == max(estimate["mean"] for estimate in experts["ndcg@10"].values())
    assert experts["ndcg@10"]["trending"]["mean"] == pytest.approx(document["policies"]["trending"]["ndcg@10"]["mean"])
    above = experts["freshet above"][experts["best"]]
    assert above["mean"] == pytest.approx(served - best)
    assert above["low"] < above["mean"] < above["high"]
    assert [regret["events"] for regret in regrets] == [document["judged"] * tenth // 10 for tenth in range(1, 11)]
    assert regrets[-1] == {
        "events": document["judged"], "mixing": pytest.approx(served), "best": experts["best"],
        "expert": pytest.approx(best), "regret": pytest.approx(best - served),
    }  # fmt: skip
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    alone = rows[rows.policy == "freshet"][f"place@{experts['best']}"]
    assert np.where(alone <= 10, 1 / np.log2(1 + alone), 0).mean() == pytest.approx(best)
    lines = done.stdout.splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("one expert alone"))
    assert lines[head + 1].startswith(experts["best"])
    assert f"{regrets[-1]['regret']:+.4f}" in next(line for line in lines if f"{document['judged']} events  " in line)
    assert max(map(len, lines[head : head + len(SINGLE_EXPERTS) + 13])) <= 80
    without = evaluated(tmp_path, reviews.name, "--policies", SIMPLE, "--parquet", "simple.parquet")
    assert (without["experts"], without["regret"]) == (None, None)
    assert not [name for name in pd.read_parquet(tmp_path / "simple.parquet") if name.startswith("place@")]


def test_events_more_than_a_day_ahead_of_the_clock_are_left_out_as_live(reviews: Path, tmp_path: Path) -> None:
    def read(now_ms: int) -> Dataset:
        environment = {"FRESHET_REPLAY_STATE_DIR": str(tmp_path / "state")}
        describing, screen = Describing(environment), Terminal(io.StringIO())
        return read_dataset(reviews, None, None, Selection(), environment, describing, screen, now_ms)

    whole = read(10**13)
    assert (len(whole.states), whole.left_out) == (400, 0)
    last_ms = whole.states[-1].event_time_ms
    newest = sum(state.event_time_ms == last_ms for state in whole.states)
    assert read(last_ms - DAY_MS).left_out == 0, "just a day ahead"
    cut = read(last_ms - DAY_MS - 1)
    assert (cut.states, cut.left_out) == (whole.states[:-newest], newest)
    last_but_one_ms = cut.states[-1].event_time_ms
    assert read(last_but_one_ms - DAY_MS).states == cut.states, "a day ahead is taken, what is later is not"
    with pytest.raises(Unusable, match="all 400 events selected lie more than a day ahead"):
        read(1)


def test_how_many_events_of_the_future_were_left_out_is_told(tmp_path: Path) -> None:
    lines = [f"u{n % 5},p{n % 7},{1_600_000_000 + n}" for n in range(60)] + ["u1,clockless,4084000000"]
    (tmp_path / "views.csv").write_text("\n".join(["user,item,at", *lines]))
    (tmp_path / "shop.toml").write_text(
        '[columns]\nuser = "user"\nproduct = "item"\ntime = "at"\n[kind]\ndefault = "view"\n'
    )
    done = freshet(tmp_path, "views.csv", "--mapping", "shop.toml", "--policies", "trending", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    assert "60 events of 5 users on 7 products were learned from." in done.stdout
    note = "Events left out since they lie more than a day ahead of the clock, as features refuses them: 1."
    assert note in done.stdout.splitlines()
    assert note in json.loads((tmp_path / "out.json").read_text())["notes"]


def test_products_of_the_metadata_may_be_known_and_placed_before_their_first_event(
    reviews: Path, tmp_path: Path
) -> None:
    shelves = [{"asin": f"p{n}", "title": f"shelf {n // 5}"} for n in range(300)]
    (tmp_path / "meta.json").write_text("".join(json.dumps(product) + "\n" for product in shelves))
    words = (reviews.name, "--metadata", "meta.json", "--policies", "markov")
    documents = {how: evaluated(tmp_path, *words, "--new-products", how) for how in ("unlisted", "listed", "placed")}
    assert {how: each["new_products"] for how, each in documents.items()} == {how: how for how in documents}
    new = {
        how: each["slices"]["new products"]["policies"]["markov"]["hr@10"]["mean"] for how, each in documents.items()
    }
    assert documents["unlisted"]["unknown_products"] > documents["listed"]["unknown_products"] == 0.0
    assert new["placed"] > new["listed"], "who bought of a shelf buys of it again"
    first = {how: each["slices"]["0-event products"] for how, each in documents.items()}
    mrr = {how: each["policies"]["markov"]["mrr"]["mean"] for how, each in first.items()}
    assert mrr["unlisted"] == 0.0 < mrr["listed"] < mrr["placed"]
    output = freshet(tmp_path, *words, "--new-products", "placed").stdout
    assert f"of {first['placed']['events']} first events" in output
    done = freshet(tmp_path, *words[:1], "--policies", "markov", "--new-products", "listed")
    assert (done.returncode, "add --metadata" in done.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["prequential", "temporal"])
def test_the_same_command_gives_the_same_figures_bit_for_bit(reviews: Path, tmp_path: Path, protocol: str) -> None:
    words = (reviews.name, "--policies", f"{SIMPLE},itemknn,ials", "--protocol", protocol, "--spam", "0.1")
    first = evaluated(tmp_path, *words, "--seeds", "2")
    done = in_a_process_of_its_own(tmp_path, *words, "--seeds", "2", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    second = json.loads((tmp_path / "out.json").read_text())
    assert first.pop("speed") != second.pop("speed"), "these are measured"
    assert first == second
    assert first["promoted"]
    assert first["seeds"] == [7, 8]


def test_what_can_not_be_used_ends_with_status_2(tmp_path: Path) -> None:
    done = in_a_process_of_its_own(tmp_path, "missing.json")
    assert (done.returncode, done.stderr) == (2, "freshet: no such file: missing.json; check the name\n")


def test_settings_are_chosen_in_the_validation_period(reviews: Path, tmp_path: Path) -> None:
    done = freshet(tmp_path, reviews.name, "--policies", SIMPLE, "--protocol", "temporal", "--set", "markov.window=1,8")
    assert done.returncode == 0, done.stderr
    assert "best of 2 tried in the validation period" in done.stdout
    assert "budgets are unequal" in done.stdout


def test_what_warms_up_is_learned_and_chosen_on_and_not_judged(reviews: Path, tmp_path: Path) -> None:
    whole = evaluated(tmp_path, reviews.name, "--policies", SIMPLE, "--parquet", "whole.parquet")
    words = (reviews.name, "--policies", SIMPLE, "--warm-up", ".5", "--set", "markov.popularity_weight=1,.001")
    done = freshet(tmp_path, *words, "--parquet", "half.parquet")
    assert done.returncode == 0, done.stderr
    assert "markov: popularity_weight 0.001, the best of 2 tried in the validation period" in done.stdout
    assert "The first 50% of the events are learned and not judged." in done.stdout
    half, rows = pd.read_parquet(tmp_path / "half.parquet"), pd.read_parquet(tmp_path / "whole.parquet")
    assert 0.4 < len(half) / len(rows) < 0.6
    assert whole["judged"] * 3 == len(rows)
    same = rows[rows.event_time >= half.event_time.min()].reset_index(drop=True)
    pd.testing.assert_series_equal(half["ndcg@10"], same["ndcg@10"])


@pytest.mark.parametrize(("variant", "events"), [("strict", 2 + 3 + 4 + 2), ("all-but-last", 3 + 4 + 5 + 2)])
def test_leave_one_out_on_sequences(sequences: Path, tmp_path: Path, variant: str, events: int) -> None:
    document = evaluated(tmp_path, sequences.name, "--policies", "trending,markov", "--variant", variant)
    assert (document["protocol"], document["variant"], document["leaky"]) == ("leave-one-out", variant, True)
    assert (document["judged"], document["data"]["events"]) == (3, events)
    assert document["policies"]["markov"]["hr@10"]["mean"] > 0


def test_what_share_each_part_of_freshet_had_is_told_and_of_how_many_events(reviews: Path, tmp_path: Path) -> None:
    done = freshet(tmp_path, reviews.name, "--policies", "trending,freshet", "--seeds", "2", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "out.json").read_text())["parts"]
    assert list(parts) == ["freshet"]
    mixture = parts["freshet"]["mixture"]
    assert list(mixture) == ["popularity", "next", "together", "itself", "sessions"]
    assert sum(mixture.values()) == pytest.approx(1.0)
    assert (parts["freshet"]["events"], parts["freshet"]["heads"]) == (400, {"ce": 0.0, "q": 0.0})
    each = ", ".join(f"{part} {share:.1%}" for part, share in mixture.items())
    assert f"freshet: the mixture after 400 events: {each};" in done.stdout
    assert (
        f"  beside its logarithm the heads 0.00 · ce, 0.00 · q, chosen on the last {parts['freshet']['validated']} "
        in done.stdout
    )


def test_freshet_and_the_model_of_whole_sequences_have_names_of_their_own(sequences: Path, tmp_path: Path) -> None:
    options = ("--set", "markov-sasrec.whole.most=1", "--set", "freshet.hidden=8")
    document = evaluated(tmp_path, sequences.name, "--policies", "markov,freshet,markov-sasrec", *options)
    assert document["options"] == {"markov-sasrec": {"whole.most": 1}, "freshet": {"hidden": 8}}
    assert document["best_baseline"] == "markov"
    assert {name: of["hr@10"]["mean"] > 0 for name, of in document["policies"].items()} == dict.fromkeys(
        ("markov", "freshet", "markov-sasrec"), True
    )


def test_a_perfect_answer_is_one(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("".join(f"u{n} a b c d\n" for n in range(5)) + "v b c\nw c d\n")
    done = freshet(tmp_path, "s.txt", "--policies", "markov", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["policies"]["markov"]["ndcg@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert "markov (strict)" in done.stdout
    assert "leaky" in done.stdout


def test_the_sequences_of_a_dataset(reviews: Path, tmp_path: Path) -> None:
    document = evaluated(tmp_path, reviews.name, "--policies", "markov", "--protocol", "leave-one-out")
    assert (document["variant"], document["judged"] + sum(document["not_judged"].values())) == ("strict", 40)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policies", "markow"], "no policy is called 'markow'; there are trending, repeat, markov"),
        (["--policies", ","], "names no policy"),
        (["--masked-kinds", "sneeze"], "no kind of event is called 'sneeze'"),
        (["--set", "markov=3"], "is not POLICY.OPTION=VALUE"),
        (["--seeds", "0"], "is no whole number from 1"),
        (["--spam", "2"], "is no share"),
    ],
)
def test_what_is_misspelt_is_a_usage_error(reviews: Path, tmp_path: Path, words: list[str], message: str) -> None:
    done = freshet(tmp_path, reviews.name, *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_learned_from_one_file_and_judged_on_another(tmp_path: Path) -> None:
    """After x comes z, and then y; how much popularity counts is chosen on a third file."""
    rows = {
        "train.csv": [f"u{n},{product}" for n in range(9) for product in "xzy"] + [f"o{n},p" for n in range(30)],
        "valid.csv": ["v,x", "v,z", "v,y"],
        "test.csv": ["w,x", "w,z", "w,y", "one,x"],
    }
    for file, events in rows.items():
        lines = [f"{event},{1_500_000_001 + 60 * n}\n" for n, event in enumerate(events)]
        (tmp_path / file).write_text("user,product,timestamp\n" + "".join(lines))
    (tmp_path / "map.toml").write_text(
        '[columns]\nuser = "user"\nproduct = "product"\ntime = "timestamp"\n[time]\nformat = "seconds"\n'
        '[kind]\ndefault = "view"\n'
    )
    words = ("--mapping", "map.toml", "--test", "test.csv", "--validation", "valid.csv", "--json", "out.json")
    chosen = ("--policies", "trending,markov,vmis-knn", "--set", "markov.popularity_weight=1.0,0.001")
    done = freshet(tmp_path, "train.csv", *words, *chosen)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "train.csv, judged on test.csv: split"
    assert "mrr@20    hr@20  ndcg@20  session_ndcg@20      mrr@20 between" in done.stdout
    assert "mrr@20, beside markov" in done.stdout or "mrr@20, beside vmis-knn" in done.stdout
    assert max(map(len, lines[:-1])) <= 120
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["protocol"], document["judged"], document["data"]["events"]) == ("split", 2, 57)
    mrr = {name: values["mrr@20"]["mean"] for name, values in document["policies"].items()}
    assert mrr["markov"] == 1.0
    assert mrr["markov"] > mrr["vmis-knn"] > mrr["trending"], "a session has no order: z and y after x are equals"
    assert document["options"]["markov"] == {"popularity_weight": 0.001}, "chosen on the file of validation"
    assert "mrr@20 above the best baseline" in document


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reviews.json.gz", "--protocol", "split"], "judges another file than it learns from: add --test FILE"),
        (["reviews.json.gz", "--validation", "reviews.json.gz"], "--validation belongs to --test FILE"),
        (
            ["reviews.json.gz", "--test", "reviews.json.gz", "--protocol", "temporal"],
            "--test belongs to --protocol split, not to temporal",
        ),
        (["reviews.json.gz", "--test", "reviews.json.gz", "--spam", "0.1"], "--spam: "),
        (["sequences.txt", "--test", "reviews.json.gz"], "only --protocol leave-one-out"),
        (["reviews.json.gz", "--test", "missing.json"], "no such file: missing.json"),
        (["reviews.json.gz", "--policies", "vmis-knn", "--set", "vmis-knn.k=0"], "vmis-knn: k is 0; give at least 1"),
        (["missing.json"], "no such file: missing.json"),
        (["empty.txt"], "empty.txt is empty"),
        (["prose.txt"], "is in no format that is known"),
        (["sequences.txt", "--protocol", "temporal"], "only --protocol leave-one-out"),
        (["sequences.txt", "--spam", "0.05"], "--spam needs times"),
        (["pairs.txt", "--policies", "markov", "--protocol", "leave-one-out"], "leaves no event to judge"),
        (["reviews.json.gz", "--variant", "strict"], "--variant belongs to --protocol leave-one-out"),
        (["reviews.json.gz", "--policies", "markov", "--set", "ials.factors=8"], "ials is not among --policies"),
        (["reviews.json.gz", "--policies", "markov", "--set", "markov.colour=1"], "there are window, decay"),
        (["reviews.json.gz", "--policies", "markov", "--set", "markov.window=1,2"], "temporal, or --warm-up"),
        (["reviews.json.gz", "--policies", "markov", "--set", "markov.window=x"], "markov.window=x: Input should be"),
        (
            ["reviews.json.gz", "--protocol", "temporal", "--warm-up", ".5"],
            "--warm-up belongs to --protocol prequential",
        ),
        (["reviews.json.gz", "--policies", "freshet", "--set", "freshet.batch=x"], "freshet.batch=x: Input should be"),
        (["reviews.json.gz", "--from", "2090-01-01", "--policies", "markov"], "leave no event of"),
        (["reviews.json.gz", "--json", "nowhere/out.json"], "no such folder: nowhere"),
    ],
)
def test_what_can_not_be_used_is_told(
    reviews: Path, sequences: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "pairs.txt").write_text("u1 a\nu2 b\n")
    (tmp_path / "prose.txt").write_text(
        "Call me Ishmael. Some years ago, never mind how long precisely,\nhaving little\n"
    )
    done = freshet(tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_says_what_is_not_done_here(tmp_path: Path) -> None:
    help_text = " ".join(freshet(tmp_path, "--help").stdout.split())
    assert "Off-policy estimates (IPS, doubly robust) are not made here" in help_text
    assert "trending, repeat, markov" in help_text


def test_real_reviews_rank_as_by_hand(data: Path, tmp_path: Path) -> None:
    """Gift cards: every figure is finite, and the share of unknown products is that of first events."""
    document = evaluated(tmp_path, str(data / "amazon-2018" / "Gift_Cards_5.json.gz"), "--policies", "trending")
    assert document["judged"] + sum(document["not_judged"].values()) == document["data"]["events"] == 2972
    assert document["unknown_products"] == pytest.approx(document["data"]["products"] / document["judged"])
    assert all(math.isfinite(estimate["low"]) for estimate in document["policies"]["trending"].values())


def test_what_no_option_says_is_as_the_shop_has_it(reviews: Path, tmp_path: Path) -> None:
    words = (reviews.name, "--policies", "markov")
    shop = {"FRESHET_SHOP_MASKED_KINDS": "purchase", "FRESHET_SHOP_HISTORY_LENGTH": "3"}
    document = evaluated(tmp_path, *words, **shop)
    assert document["masked_kinds"] == "purchase"
    assert document["command"].startswith("FRESHET_SHOP_HISTORY_LENGTH=3 FRESHET_SHOP_MASKED_KINDS=purchase freshet ")
    same = evaluated(tmp_path, *words, "--masked-kinds", "purchase", "--history-length", "3")
    assert same["policies"]["markov"]["ndcg@10"] == document["policies"]["markov"]["ndcg@10"]
    assert evaluated(tmp_path, *words, "--masked-kinds", "", **shop)["masked_kinds"] == ""
    assert freshet(tmp_path, *words, FRESHET_SHOP_MASKED_KINDS="sneeze").returncode == 2
