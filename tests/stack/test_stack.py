"""The stack that docker-compose.yml describes, built and run: its life in order, told by what is seen from outside.

    make stack-test

It needs a Docker engine on Linux and the base images, takes about ten minutes, and leaves nothing running.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import grpc
import pytest

from services.monitoring import DASHBOARDS
from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from tests.stack.docker import PROJECT, Stack, engine_is_here, eventually, run
from tests.stack.load import Load
from tests.support.panels import unanswered, unknown

EVENTS = 12_000  # of the generated sample
PACE = "--within 3m --evenly"
READY = ["features", "trainer", "evaluator", "gateway", "replay"]
KILLED = ["features", "trainer", "evaluator", "gateway", "replay", "inference", "prometheus", "kafka"]
OURS = [*READY, "inference"]
PROCESSES = 2

# What panels ask to show only where something is wrong, and nothing is: the sample has no line to leave out.
EMPTY_WHEN_WELL = ["sum by (reason) (freshet_replay_rejected_lines_total) > 0"]

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not engine_is_here(), reason="needs a Docker engine"),
]


def say(line: str) -> None:
    print(f"\n  {line}", flush=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack, up from nothing; gone with everything it kept at the end."""
    stack = Stack({"REPLAY_PACE": PACE})
    stack.compose("down", "--volumes", "--remove-orphans")
    begun = time.monotonic()
    stack.compose("build", seconds=840)
    say(f"built in {time.monotonic() - begun:.0f} s")
    try:
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def load(stack: Stack) -> Iterator[Load]:
    """Calls from outside, until the counting begins."""
    with grpc.insecure_channel(stack.grpc_address) as channel:
        products = [p.product_id for p in recommended(channel).products]
    load = Load(stack.grpc_address, stack.page_url, products)
    load.start()
    yield load
    if load.is_alive():
        load.stop()


def recommended(channel: grpc.Channel) -> pb.RecommendResponse:
    """An answer for somebody new, waiting for a server that is not up."""
    answer: pb.RecommendResponse = RecommenderServiceStub(channel).Recommend(
        pb.RecommendRequest(user_id="somebody", wishes=pb.Wishes(count=10)), timeout=5, wait_for_ready=True
    )
    return answer


def first_recommendation(stack: Stack) -> pb.RecommendResponse | None:
    """An answer with products, or none yet; over a new connection, since one of the processes may be away."""
    with grpc.insecure_channel(stack.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            answer = recommended(channel)
        except grpc.RpcError:
            return None
    return answer if answer.products else None


def ready(stack: Stack, service: str) -> bool:
    """Whether a service says so itself, sooner than its next health check."""
    return all(
        stack.figures(service, n).get(f"freshet_{service}_ready") == 1.0
        for n in range(PROCESSES if service == "inference" else 1)
    )


def test_it_comes_up_and_recommends(stack: Stack) -> None:
    begun = time.monotonic()
    with stack.coming_up():
        eventually(lambda: first_recommendation(stack), "recommendation from outside")
        say(f"from up to the first recommendation: {time.monotonic() - begun:.1f} s")
        for service in [*OURS, "kafka", "prometheus"]:
            eventually(lambda service=service: stack.health(service) == "healthy", f"health of {service}")
    say(f"from up until all is healthy: {time.monotonic() - begun:.1f} s")


def test_the_dashboards_are_written_where_grafana_reads_them(stack: Stack, tmp_path: Path) -> None:
    result = stack.inspect("dashboards")
    assert result["State"]["ExitCode"] == 0
    run("docker", "cp", f"{result['Id']}:/var/lib/freshet/dashboards", str(tmp_path))
    written = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "dashboards").iterdir()}
    assert written == {dashboard.uid: dashboard.to_json() for dashboard in DASHBOARDS}
    modes = {file.stat().st_mode & 0o444 for file in (tmp_path / "dashboards").iterdir()}
    assert modes == {0o444}, "Grafana is another user"


def test_the_serving_image_is_slim_and_holds_no_torch(stack: Stack) -> None:
    base = int(run("docker", "image", "inspect", "--format", "{{.Size}}", "python:3.11-slim-bookworm"))
    for service in ("inference", "features", "replay", "trainer", "gateway"):
        image = stack.inspect(service)["Image"]
        size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        say(f"image of {service}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} MB of it above its base")
        if service == "inference":
            assert size - base < 420e6, "with the 130 MB of python:3.11-slim, and 205 of numba, below 550 MB"
    for service in ("inference", "features", "replay", "gateway"):
        result = subprocess.run(
            ["docker", "exec", stack.containers(service)[0], "python", "-c", "import torch"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert b"ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize("service", [*OURS, "kafka", "prometheus"])
def test_each_container_runs_as_nobody_in_particular_and_writes_nowhere_it_should_not(
    stack: Stack, service: str
) -> None:
    result = stack.inspect(service)
    assert result["Config"]["User"] not in ("", "0", "root")
    host = result["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    tried = subprocess.run(["docker", "exec", result["Id"], "touch", "/here"], capture_output=True, check=False)
    assert tried.returncode != 0


@pytest.mark.parametrize("service", [*OURS, "kafka", "prometheus"])
def test_each_line_of_a_log_is_json(stack: Stack, service: str) -> None:
    lines = stack.logs(service)
    if service == "kafka":  # whose image may say in plain words that it is about to start it
        lines = list(dropwhile(lambda line: not line.startswith("{"), lines))
    assert lines
    wanted = {"level"} if service == "prometheus" else {"time", "level", "logger", "message"}
    for line in lines:
        assert wanted <= set(json.loads(line))


def test_prometheus_sees_every_process(stack: Stack) -> None:
    processes = 1 + len(READY) + PROCESSES  # the first is Prometheus itself
    eventually(lambda: stack.prometheus.values("count(up == 1)") == [processes], "target up for each process")
    assert stack.prometheus.down() == []
    assert stack.prometheus.values("count(up)") == [processes]


def test_both_processes_answer(stack: Stack, load: Load) -> None:
    def both() -> bool:
        answering = 'sum by (instance) (freshet_inference_requests_total{method="Recommend",code="OK"}) > 0'
        if len(stack.prometheus.values(answering)) == PROCESSES:
            return True
        first_recommendation(stack)  # another connection: the kernel may place it with the other
        return False

    eventually(both, "answers from each process")
    assert load.is_alive()


def test_the_page_and_http_are_reached_from_this_machine(stack: Stack) -> None:
    with urllib.request.urlopen(stack.page_url, timeout=10) as page:  # noqa: S310
        assert page.headers.get_content_type() == "text/html"
    with urllib.request.urlopen(f"{stack.page_url}v1/users/somebody/recommendations?count=3", timeout=10) as answer:  # noqa: S310
        assert len(json.load(answer)["products"]) == 3
    with urllib.request.urlopen(f"{stack.page_url}v1/live", timeout=10) as answer:  # noqa: S310
        assert {row["policy"] for row in json.load(answer)["leaderboard"]} >= {"learned", "trending"}


def test_a_bad_record_from_this_machine_becomes_a_dead_letter(stack: Stack) -> None:
    producer = CountedProducer(producer_config(stack.kafka))
    producer.send(Topics.of(stack.kafka).events, key=b"u", value=b"\xff no event")
    producer.flush(20)
    dead = "sum(freshet_features_dead_letters_total) > 0"
    eventually(lambda: stack.prometheus.values(dead), "dead letter, seen by Prometheus")


def test_the_console_runs_inside(stack: Stack) -> None:
    output = stack.compose("run", "--rm", "--no-deps", "-T", "topics", "services.console", "dead-letters", "show")
    assert "no event" in output or "undecodable" in output
    for service in OURS:
        run("docker", "exec", stack.containers(service)[0], "python", "-c", "import freshet")


@pytest.mark.parametrize("service", KILLED)
def test_killed_under_load_it_recovers(stack: Stack, load: Load, service: str) -> None:
    recorded = load.recorded
    [container] = stack.containers(service)
    run("docker", "kill", "--signal", "KILL", container)
    begun = time.monotonic()
    run("docker", "start", container)
    if service in READY:
        eventually(lambda: ready(stack, service), f"{service} at work")
    elif service == "inference":
        eventually(lambda: ready(stack, service) and first_recommendation(stack), "answer from each process")
    elif service == "kafka":
        recorded = load.recorded
        eventually(lambda: load.recorded > recorded, "event acknowledged")
    else:
        eventually(lambda: stack.health(service) == "healthy", f"health of {service}")
    say(f"{service} killed and started: at work again after {time.monotonic() - begun:.1f} s")
    eventually(lambda: load.recorded > recorded, "event recorded since")
    eventually(lambda: stack.health(service) == "healthy", f"health of {service}")


def test_each_event_counts_once(stack: Stack, load: Load) -> None:
    say(f"memory under load, MiB: {stack.memory_mib()}")
    eventually(lambda: stack.figures("replay").get("freshet_replay_done") == 1.0, "end of the replay", seconds=300)
    load.stop()
    say(
        f"{load.recorded} events recorded, {load.retried} times again; {load.recommended} recommendations, "
        f"{load.refused} calls refused while something was away"
    )
    produced = EVENTS + load.recorded

    def learned() -> float:
        return resumed_after(stack) + stack.figures("trainer").get("freshet_trainer_applied_events_total", 0.0)

    def served(process: int) -> float:
        return stack.figures("inference", process).get("freshet_inference_applied_total", 0.0)

    eventually(lambda: learned() >= produced, "every event learned", seconds=180)
    for process in range(PROCESSES):
        eventually(lambda process=process: served(process) >= produced, "every event served")
    time.sleep(5)  # what would come twice comes now
    assert learned() == produced
    assert [served(process) for process in range(PROCESSES)] == [produced] * PROCESSES
    judged = stack.figures("evaluator").get("freshet_evaluator_applied_events_total")
    assert judged == produced
    say(f"{produced} events produced, learned and served, once each")


def resumed_after(stack: Stack) -> int:
    """The events of the checkpoint that the trainer's last start began with."""
    result = [re.search(r"resumed after (\d+) events", line) for line in stack.logs("trainer")]
    counts = [int(match[1]) for match in result if match]
    return counts[-1] if counts else 0


def test_what_the_panels_ask_is_answered(stack: Stack) -> None:
    def wrong() -> dict[str, str]:
        return unanswered(stack.prometheus, rate_interval="20s", may_be_empty=EMPTY_WHEN_WELL)

    eventually(lambda: not wrong(), "answer to every panel", seconds=60)
    assert unknown(stack.prometheus) == set()
    assert stack.prometheus.down() == []
    assert stack.prometheus.broken_rules() == []


def test_features_scales(stack: Stack) -> None:
    stack.compose("up", "--detach", "--no-recreate", "--scale", "features=3")

    def shared() -> bool:
        return stack.prometheus.values("freshet_features_partitions") == [2.0, 2.0, 2.0]

    eventually(shared, "two partitions for each of three workers, seen by Prometheus")
    say(f"memory when idle, MiB: {stack.memory_mib()}")


def test_told_to_stop_each_ends_within_ten_seconds_and_loses_nothing(stack: Stack) -> None:
    learned = resumed_after(stack) + stack.figures("trainer")["freshet_trainer_applied_events_total"]
    took = {}
    for service in [*OURS, "prometheus", "kafka"]:
        begun = time.monotonic()
        run("docker", "stop", "--time", "10", *stack.containers(service))
        took[service] = round(time.monotonic() - begun, 1)
        status = stack.inspect(service)["State"]["ExitCode"]
        assert status == (143 if service == "kafka" else 0), f"{service} ended with {status}"  # 143: Java, told to end
    say(f"stopped within, seconds: {took}")
    stack.compose("up", "--detach", "--no-recreate")
    eventually(lambda: stack.health("trainer") == "healthy", "trainer at work again")
    assert resumed_after(stack) == learned


def test_nothing_else_is_left(stack: Stack) -> None:
    stack.compose("down", "--volumes")
    assert not run(
        "docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"
    ).split()
