"""`freshet simulate`, as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.lab.simulator.simulator import Simulator
from shared.pb.freshet.v1 import events_pb2 as pb
from tests.support import console, simulated
from tests.support.processes import ROOT


def freshet(*arguments: str | Path, status: int = 0, alone: bool = False) -> str:
    """What the command says: to standard output, or to standard error where it fails; `alone`: in a new process."""
    call = console.in_a_process_of_its_own if alone else console.freshet
    done = call(ROOT, "simulate", *map(str, arguments))
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def behaviour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views and purchases in Alibaba's format."""
    file = tmp_path_factory.mktemp("data") / "behaviour.csv"
    names = {pb.EVENT_KIND_VIEW: "pv", pb.EVENT_KIND_PURCHASE: "buy"}
    first = 1_511_544_070
    lines = [
        f"{event.user_id[1:]},{event.product_id[1:]},1,{names[event.kind]},{first + event.event_time_ms // 1000}"
        for event in simulated.events()
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.slow
def test_from_a_file_to_a_table_that_repeats(behaviour: Path, tmp_path: Path) -> None:
    output = freshet("fit", behaviour, "--to", tmp_path / "shop", "--dimension", "4")
    assert "40 products simulated" in output
    assert f"freshet simulate compare {tmp_path / 'shop'}" in output
    train, test = (Simulator.load(tmp_path / "shop" / name) for name in ("train", "test"))
    assert train.product_ids == test.product_ids
    assert train.origin.until_ms < test.origin.from_ms
    assert train.origin.data == "behaviour.csv"

    small = ["--seeds", "2", "--steps", "40", "--visits", "60", "--discounts", "0.5", "--set", "trust=2"]
    table = freshet("compare", tmp_path / "shop", *small, "--json", tmp_path / "found.json")
    for policy in ("random", "trending", "cooccurrence", "dqn 0", "dqn 0.5"):
        assert any(line.startswith(f"{policy} ") for line in table.splitlines()), table
    assert "dqn 0.5: reward a visit more than" in table
    assert "--steps 40" in table
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["train"]["dynamics"]["trust"] == document["test"]["dynamics"]["trust"] == 2.0
    reward = document["policies"]["dqn 0.5"]["reward"]
    assert reward["low"] <= reward["mean"] <= reward["high"]
    freshet("compare", tmp_path / "shop", *small, "--json", tmp_path / "again.json", alone=True)
    again = json.loads((tmp_path / "again.json").read_text())
    assert document.pop("command") != again.pop("command")
    assert document == again


def test_what_can_not_be_used_is_refused_with_what_to_do(behaviour: Path, tmp_path: Path) -> None:
    nothing = freshet("compare", tmp_path, status=2, alone=True)
    assert nothing.rstrip().endswith("holds no simulator: make it with `freshet simulate fit`")
    assert "no event lies in that period" in freshet(
        "fit", behaviour, "--until", "1999-01-01", "--to", tmp_path, status=2
    )
    for name in ("train", "test"):
        simulated.saved(tmp_path / "shop" / name)
    assert "no constant is called hunger" in freshet("compare", tmp_path / "shop", "--set", "hunger=1", status=2)
    assert "write NAME=NUMBER" in freshet("compare", tmp_path / "shop", "--set", "trust", status=2)
    assert "discounts are numbers from 0 and below 1" in freshet(
        "compare", tmp_path / "shop", "--discounts", "1.5", status=2
    )
    (tmp_path / "taken").write_text("")
    assert "name another folder" in freshet("fit", behaviour, "--to", tmp_path / "taken", status=2)


def test_real_reviews_and_clicks_can_be_fitted(data: Path, tmp_path: Path) -> None:
    output = freshet(
        "fit", data / "amazon-2014" / "Musical_Instruments_5.json.gz", "--until", "2013-01-01", "--to", tmp_path / "mi"
    )
    assert "train  2004-09-29 to 2012-12-31" in output
    clicks = data / "taobao" / "UserBehavior_users815_84475.csv.gz"
    freshet("fit", clicks, "--to", tmp_path / "taobao", "--products", "300")
    for name in ("mi", "taobao"):
        train = Simulator.load(tmp_path / name / "train")
        assert train.origin.figures["log_likelihood"] > train.origin.figures["log_likelihood_popularity"]
        assert train.dynamics.taste_weight > 1
    assert train.dynamics.dwell_log_mean != 3.4  # told by the gaps between clicks
