"""What the console is given is judged before anything starts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from services.console.__main__ import parse
from services.console.models import shares_of_score
from services.embedded.variables import refuse_unknown, refuse_wrong
from shared.process.errors import Unusable
from shared.process.terminal import Terminal


@pytest.mark.parametrize("within", ["foo", "60", "0s"])
def test_a_time_that_is_none_is_a_usage_error(within: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["demo", "--within", within])
    assert f"argument --within: '{within}' is no time above 0 such as 90s" in capsys.readouterr().err


def test_a_time_is_passed_on_as_it_was_written() -> None:
    assert parse(["demo", "--within", "1.5m"]).within == "1.5m"
    assert parse(["demo"]).within == "60s"


@pytest.mark.parametrize("port", ["99999999", "65536", "0", "-1", "many"])
def test_a_port_that_is_none_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["up", "--kafka-port", port])
    assert f"argument --kafka-port: '{port}' is no port, 1 to 65535" in capsys.readouterr().err
    assert parse(["up", "--kafka-port", "65535"]).kafka_port == 65535


@pytest.mark.parametrize("command", ["demo", "up"])
@pytest.mark.parametrize("name", ["FRESHET_TRAINER_BATCH", "FRESHET_REPLAY_TICK_EVENTS", "FRESHET_KAFKA_PARTITIONS"])
def test_a_wrong_value_is_refused_before_the_folder_is_touched(command: str, name: str, tmp_path: Path) -> None:
    arguments = parse([command, "--state-dir", str(tmp_path / "state")])
    stream = io.StringIO()
    with pytest.raises(Unusable, match=f"wrong setting: {name}='0': "):
        arguments.run(arguments, Terminal(stream), {name: "0"})
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_good_values_pass() -> None:
    refuse_wrong({"FRESHET_TRAINER_BATCH": "16", "FRESHET_INFERENCE_GRPC_PORT": "0"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("FRESHET_TRAINER_BATHC", "did you mean FRESHET_TRAINER_BATCH?"),
        ("FRESHET_TRAINR_BATCH", "did you mean FRESHET_TRAINER_BATCH?"),
        ("FRESHET_TRAINER_XYZZY", "--help lists the settings"),
        ("FRESHET_XYZZY", "`freshet settings` lists them all"),
    ],
)
def test_a_name_is_compared_without_what_all_names_begin_with(name: str, hint: str) -> None:
    with pytest.raises(Unusable, match=name) as refused:
        refuse_unknown({name: "1"})
    assert str(refused.value).endswith(f"; {hint}")


def test_names_of_others_and_of_the_tests_pass() -> None:
    refuse_unknown({"PATH": "/bin", "FRESHET_TEST_KAFKA": "/kafka", "freshet_trainer_batch": "16"})
    refuse_unknown({"FRESHET_TEST_DATA": "/data"})


def test_a_version_says_what_share_of_the_score_its_network_has() -> None:
    metrics = {"score_share_q": 0.05, "events_share_q": 0.1, "score_share_mixture": 0.75}
    metrics |= {"score_share_ce": 0.2, "events_share_ce": 0.9, "validation_ndcg_at_10": 0.1}
    assert shares_of_score(metrics) == "counts 75%, ce 20% (90%), q 5% (10%)"
    assert shares_of_score({"validation_ndcg_at_10": 0.1}) == "-", "it has none"
