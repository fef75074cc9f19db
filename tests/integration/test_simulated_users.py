"""Simulated users on the running system: real broker, features, inference, and the calls of a shop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from shared.log.clients import LogReader
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.running_system import shown
from shared.process.settings import KafkaSettings
from tests.support import console, simulated
from tests.support.inference import eventually, running
from tests.support.loop import loop
from tests.support.processes import ROOT

USERS, VISITS = 12, 30
SIMULATE_USERS = [sys.executable, "-m", "services.console", "simulate", "users"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "FRESHET_REPLAY_METRICS_PORT": "0"}


def recorded(kafka: KafkaSettings) -> list[pb.Event]:
    """Everything that was recorded, in the order of each partition."""
    reader = LogReader(kafka, {(Topics.of(kafka).events, partition): -1 for partition in range(kafka.partitions)})
    events: list[pb.Event] = []
    while not reader.caught_up:
        events += [pb.Event.FromString(message.value()) for message in reader.poll(0.2)]
    reader.close()
    return events


def test_users_are_recommended_products_and_react_to_those(kafka: KafkaSettings, tmp_path: Path) -> None:
    shop = simulated.saved(tmp_path / "shop")
    with loop(kafka, tmp_path) as system, running(kafka, tmp_path) as inference:
        system.start("services.features")
        arguments = ["--model", str(shop), "--address", inference.address, "--users", str(USERS), "--slate", "5"]
        command = [*SIMULATE_USERS, *arguments, "--rate", "200", "--visits", str(VISITS)]
        done = subprocess.run(
            command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"done: {VISITS} visits" in done.stderr
        events = recorded(kafka)

        answers = [event for event in events if event.request_id]
        organic = [event for event in events if not event.request_id]
        assert len(organic) == VISITS  # each visit begins with a view of something found without help
        assert {event.kind for event in organic} == {pb.EVENT_KIND_VIEW}
        assert {event.kind for event in answers} >= {pb.EVENT_KIND_CLICK}
        assert all(event.dwell_seconds > 0 for event in answers if event.kind == pb.EVENT_KIND_CLICK)
        assert len({event.event_id for event in events}) == len(events)
        # Nobody told the system of products: it can have recommended only what somebody had looked at.
        viewed = {event.product_id for event in organic}
        assert {event.product_id for event in answers} <= viewed
        of_requests = defaultdict(list)
        for event in answers:
            of_requests[event.request_id].append(event)
        for one in of_requests.values():
            assert len({(event.user_id, event.product_id) for event in one}) == 1
            kinds = [event.kind for event in one]
            assert kinds in ([pb.EVENT_KIND_CLICK], [pb.EVENT_KIND_CLICK, pb.EVENT_KIND_PURCHASE])
        known = set(simulated.simulator().user_ids)
        assert {event.user_id for event in events} <= known
        assert len({event.user_id for event in events}) <= USERS
        # Users like one of two kinds of products, and click accordingly.
        rightly = [int(event.user_id[1:]) % 2 == int(event.product_id[1:]) // simulated.OF_A_KIND for event in answers]
        assert sum(rightly) > 0.8 * len(rightly)
        eventually(lambda: inference.metrics()["freshet_inference_applied_total"] == len(events))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_waits_for_a_system_that_is_away_and_stops_when_asked(number: int, tmp_path: Path) -> None:
    shop = simulated.saved(tmp_path / "shop")
    command = [*SIMULATE_USERS, "--model", str(shop), "--address", "127.0.0.1:1"]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trying again" in line:
                break
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(20) == 0
    assert "stopped: 0 visits" in rest


def test_a_folder_without_a_simulator_is_refused(tmp_path: Path) -> None:
    done = console.in_a_process_of_its_own(ROOT, "simulate", "users", "--model", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"freshet: {tmp_path} holds no simulator: make it with `freshet simulate fit`\n"


def test_they_call_the_system_that_runs_in_the_folder(tmp_path: Path) -> None:
    shop, state = simulated.saved(tmp_path / "shop"), tmp_path / ".freshet" / "up"
    state.mkdir(parents=True)
    command = [*SIMULATE_USERS, "--model", str(shop)]
    with socket.create_server(("127.0.0.1", 0)) as broker:
        kafka = {"FRESHET_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker.getsockname()[1]}"}
        with (
            shown(state, kafka, "127.0.0.1:2", "http://127.0.0.1:3/"),
            subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process,
        ):
            assert process.stderr is not None
            calls = next(line for line in process.stderr if "does not answer" in line)
            process.terminate()
            process.stderr.read()
            assert process.wait(20) == 0
    assert "127.0.0.1:2 does not answer" in calls


def test_the_old_command_names_the_new_one() -> None:
    command = [sys.executable, "-m", "replay", "simulate", "--model", "shop", "--users", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "replay: simulated users come from another command now: freshet simulate users\n"
