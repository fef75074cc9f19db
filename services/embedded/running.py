"""A system that runs: launched in its state folder, watched, called as a shop would call it.

launched, Running    the whole system for the length of a block
ShopClient           its gRPC service
scrape, Figures      its metrics
empty                the state folder of a run that starts empty; only a folder that such a run marked is emptied
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from services.embedded.broker import accepts
from services.embedded.system import SERVICES, System
from shared.pb.freshet.v1 import events_pb2 as events
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process import running_system
from shared.process.errors import Unavailable, Unusable
from shared.process.supervisor import Program, Supervisor
from shared.process.terminal import Terminal

CHECK_SECONDS = 0.2
START_SECONDS = 90.0
CALL_SECONDS = 10.0
TOP = 10  # products of one answer
MARKER = ".freshet-state"

_MARKER_TEXT = "Freshet made this folder and empties it whenever a demo or an embedded system starts in it.\n"
_PURPOSES = {
    "features": "scores texts, makes state vectors (Faust)",
    "trainer": "learns, publishes model versions (PyTorch)",
    "inference": "answers gRPC on {system.grpc_address}",
    "evaluator": "judges the policies on every event before it is learned",
    "gateway": "answers HTTP and shows the page: {system.page_url}",
}

# `name` or `name{label="value",…}`, labels in alphabetical order → value.
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Running:
    """What the parts of a command share while the system runs."""

    system: System
    supervisor: Supervisor
    terminal: Terminal
    shop: ShopClient

    def start(self, program: Program, what: str) -> None:
        """Start a program, and print one line about it."""
        self.supervisor.start(program)
        self.terminal.say(f"  {program.name:<10} {what}")

    def figures(self, service: str) -> Figures:
        """What a service's metrics say now; none while it starts."""
        return scrape(self.system.metrics_url(service))

    def wait(self, condition: Callable[[], bool], seconds: float, tick: Callable[[], None] = lambda: None) -> bool:
        """Whether `condition` came to hold within `seconds`; calls `tick` while it waits.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.supervisor.check()
            if time.monotonic() >= deadline:
                return False
            tick()
            time.sleep(CHECK_SECONDS)
        return True

    def watch(self) -> None:
        """Keep everything running until interrupted.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        self.wait(lambda: False, float("inf"))


@contextmanager
def launched(
    system: System, terminal: Terminal, *, embedded: bool, before: Sequence[Program] = ()
) -> Iterator[Running]:
    """The whole system without a replay, ready to answer; stopped when the block is left.

    Args:
        before: programs to run to their end first.

    Raises:
        Unusable, Unavailable: a program ended for good, or it did not get ready in time.
    """
    with (
        Supervisor(say=lambda text: terminal.say(f"  ! {text}")) as supervisor,
        ShopClient(system.grpc_address) as shop,
    ):
        running = Running(system, supervisor, terminal, shop)
        for program in before:
            running.start(program, "writes the reviews of this demo")
            running.wait(lambda program=program: supervisor.status(program.name) == 0, START_SECONDS)  # type: ignore[misc]
        if embedded:
            running.start(system.broker(), f"Kafka-compatible, in memory, on {system.bootstrap_servers}")
            _require(running, lambda: accepts(system.bootstrap_servers), "the broker")
        for name in SERVICES:
            running.start(system.service(name), _PURPOSES[name].format(system=system))
        _require(running, shop.is_serving, "inference")
        _require(running, lambda: all(running.figures(name) for name in SERVICES), "the metrics of every service")
        with running_system.shown(system.state_dir, system.environment, system.grpc_address, system.page_url):
            yield running


def _require(running: Running, condition: Callable[[], bool], what: str) -> None:
    if not running.wait(condition, START_SECONDS):
        raise Unavailable(
            f"{what} did not get ready within {START_SECONDS:g} s; see the logs in {running.system.state_dir / 'logs'}"
        )


# Calls.


@dataclass(frozen=True, slots=True)
class Change:
    """A user's recommendations before and after one more review, both without the reviewed product."""

    before: pb.RecommendResponse
    after: pb.RecommendResponse
    position: events.LogPosition  # of the review
    seconds: float  # from the call of RecordEvents to the first answer at its position


class ShopClient:
    """A client of the recommender for the length of a block."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address)
        self._stub = RecommenderServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def is_serving(self) -> bool:
        """Whether health says SERVING."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def serving_version(self) -> events.ModelVersion | None:
        """The version that answers now; None: none does, or nobody answers."""
        try:
            listed = self._stub.ListModels(pb.ListModelsRequest(), timeout=2.0)
        except grpc.RpcError:
            return None
        return next((v for v in listed.versions if v.version_id == listed.serving_version), None)

    def user(self, user_id: str) -> pb.GetUserResponse:
        """What is known of a user.

        Raises:
            Unavailable: the call failed.
        """
        try:
            known: pb.GetUserResponse = self._stub.GetUser(pb.GetUserRequest(user_id=user_id), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("GetUser", error) from error
        return known

    def recommend(
        self,
        user_id: str,
        exclude: Sequence[str] = (),
        after: events.LogPosition | None = None,
        *,
        explain: bool = False,
    ) -> pb.RecommendResponse:
        """The user's best products; with `explain`, each with what made its score.

        Raises:
            Unavailable: the call failed.
        """
        wishes = pb.Wishes(count=TOP, exclude_product_ids=exclude, explain=explain)
        request = pb.RecommendRequest(user_id=user_id, wishes=wishes, after_position=after)
        try:
            answer: pb.RecommendResponse = self._stub.Recommend(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("Recommend", error) from error
        return answer

    def review(self, review: events.Event) -> Change:
        """Send one review, and compare the lists before and after it.

        Raises:
            Unavailable: a call failed.
        """
        exclude = [review.product_id]
        before = self.recommend(review.user_id, exclude)
        began = time.perf_counter()
        try:
            recorded = self._stub.RecordEvents(pb.RecordEventsRequest(events=[review]), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise self._failed("RecordEvents", error) from error
        position = recorded.events[0].position
        after = self.recommend(review.user_id, exclude, position)
        return Change(before, after, position, time.perf_counter() - began)

    def _failed(self, method: str, error: grpc.RpcError) -> Unavailable:
        code = error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        return Unavailable(f"{method} at {self._address} failed: {code}: {details}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()


# Metrics.


def parse(text: str) -> Figures:
    """The samples of one exposition."""
    figures: Figures = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            figures[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return figures


def scrape(url: str, *, seconds: float = 2.0) -> Figures:
    """The figures behind a URL; none while nobody answers there."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port, timeout=seconds)
    try:
        connection.request("GET", place.path)
        answer = connection.getresponse()
        return parse(answer.read().decode()) if answer.status == http.HTTPStatus.OK else {}
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


# The state folder.


@contextmanager
def empty_folder(folder: Path) -> Iterator[Path]:
    """An empty folder, held by this process alone for the length of the block; its content stays afterwards.

    Raises:
        Unusable: it holds files that no such run wrote, another run is using it, or it can't be written.
    """
    try:
        _require_ours(folder)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Unusable(f"can't use {folder} ({error.strerror}); name another folder with --state-dir") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(f"another Freshet runs in {folder}; stop it, or name another --state-dir") from error
        _empty(folder)
        os.pwrite(handle, _MARKER_TEXT.encode(), 0)
        yield folder
    finally:
        os.close(handle)


def require_unmarked(folder: Path) -> None:
    """Refuse to keep lasting state where a later run would empty the folder.

    Raises:
        Unusable: the folder carries the marker.
    """
    if (folder / MARKER).exists():
        raise Unusable(
            f"{folder} is emptied whenever a system with the embedded broker starts in it; "
            "name another --state-dir for a system on a Kafka of your own"
        )


def _require_ours(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Unusable(f"{folder} is not a folder of its own; name another --state-dir")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise Unusable(
            f"{folder} holds files that Freshet did not write, and it would be emptied; "
            "name another --state-dir, or remove the folder yourself"
        )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
