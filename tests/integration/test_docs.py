"""What the pages show of the API, run on a running system as it is printed.

Only ports differ. grpcurl is not needed: its JSON becomes the method's message as grpcurl makes it, by the protos' own
mapping, and the method is called.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

import freshet
from shared.log.topics import ensure_topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.support.gateway import gateway
from tests.support.inference import eventually
from tests.support.loop import loop
from tests.support.pages import commands, page

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
WITH_CALLS = ("README.md", "docs/api.md")


def blocks(language: str) -> list[Any]:
    """The blocks of a language in the pages that show calls."""
    return [
        pytest.param(block, id=f"{name}-{n}")
        for name in WITH_CALLS
        for n, block in enumerate(page(name).blocks(language))
    ]


def lines(beginning: str) -> list[list[str]]:
    """The words of every command in the pages that begins with this one."""
    return [
        words
        for name in WITH_CALLS
        for block in page(name).blocks("sh")
        for words in commands(block)
        if words[0] == beginning
    ]


@dataclass(frozen=True)
class System:
    """The addresses of the running system."""

    grpc: str
    http: str

    def here(self, text: str) -> str:
        """The text with this system's addresses."""
        return text.replace("127.0.0.1:50051", self.grpc).replace("127.0.0.1:8080", self.http)


@pytest.fixture(scope="module")
def system(broker_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Features, inference and the gateway, with the users and products that the pages name."""
    kafka = KafkaSettings(bootstrap_servers=broker_address, topic_prefix="tdocs", partitions=3)
    ensure_topics(kafka, patience_seconds=20)
    folder = tmp_path_factory.mktemp("docs")
    with loop(kafka, folder) as made:
        inference = made.start("services.inference")
        made.start("services.features")
        inference.wait_for(lambda: re.search(r"gRPC on (\S+:[0-9]+)", inference.log) is not None, "gRPC")
        address = re.findall(r"gRPC on (\S+:[0-9]+)", inference.log)[0]
        with gateway(address, folder) as http, freshet.Client(address, timeout=30.0) as shop:
            eventually(lambda: http.ask("/healthz").status == 200)
            named = "".join(page(name).text for name in WITH_CALLS)
            products = sorted(set(re.findall(r"\bB0[0-9A-Z]{8}\b", named)))
            shop.upsert_products([
                freshet.Product(each, title=f"Wheelbarrow {n}", categories=("Garden",), brand="Lumora", price=20.0 + n)
                for n, each in enumerate([*products, *(f"P{n}" for n in range(8))])
            ])  # fmt: skip
            users = sorted(set(re.findall(r"\bA[0-9][0-9A-Z]{12}\b", named)))
            assert users
            seen = shop.record([freshet.view(user, products[0]) for user in users])
            for user, recorded in zip(users, seen, strict=True):
                shop.recommend(user, after=recorded.position)
            eventually(lambda: shop.product(products[-1]))
            yield System(address, http.address)


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(system: System, code: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", system.here(code)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("words", lines("curl"), ids=lambda words: words[-1][:50])
def test_curl_gets_an_answer(system: System, words: list[str]) -> None:
    ended = subprocess.run(
        ["curl", "--silent", "--show-error", *map(system.here, words[1:])], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["products"], answer


def test_curls_and_greps_are_not_left_out() -> None:
    assert len(lines("curl")) >= 3
    assert len(lines("ask")) >= 6
    assert len(lines("grpcurl")) >= 1


def requests() -> list[Any]:
    """Method and JSON of each call by grpcurl, and by the `ask` function that the pages define."""
    calls = [(words[1], words[2]) for words in lines("ask")]
    for words in lines("grpcurl"):
        assert words[1:3] == ["-plaintext", "-d"]
        assert words[4] == "127.0.0.1:50051"
        service, _, method = words[5].partition("/")
        assert service == SERVICE.full_name
        calls.append((method, words[3]))
    return [pytest.param(method, body, id=f"{method}-{n}") for n, (method, body) in enumerate(calls)]


@pytest.mark.parametrize(("method", "body"), requests())
def test_grpcurl_gets_an_answer(system: System, method: str, body: str) -> None:
    described = SERVICE.methods_by_name[method]
    request = json_format.Parse(body, getattr(pb, described.input_type.name)())
    with grpc.insecure_channel(system.grpc) as channel:
        call = getattr(RecommenderServiceStub(channel), method)
        answers = list(call(request, timeout=30)) if described.server_streaming else [call(request, timeout=30)]
    assert answers
    for answer in answers:
        assert answer.ByteSize() > 0
