"""Fixtures that every test may use: one broker a worker, a fresh topic prefix a test, the real reviews.

`--broker` chooses what the tests of tests/integration and tests/e2e run on. On any but the embedded broker, those that
use none, or are about the embedded one, are left out.

`-n` spreads the tests over workers (pytest-xdist): each has a broker and ports of its own, and whatever shares a
module's fixtures stays on one worker.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from services.embedded import broker
from shared.log.topics import ensure_topics
from shared.process.settings import KafkaSettings
from tests.support import apache_kafka
from tests.support.apache_kafka import Cluster
from tests.support.link import Link, broker_behind_a_link
from tests.support.processes import QUICK_GROUPS, ROOT

# No test asserts on a time: machines are shared, and slow examples are no failures.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Real reviews, where this machine has them; tests that use them are left out elsewhere.
DATA = Path(os.environ.get("FRESHET_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
# An Apache Kafka, likewise.
KAFKA = Path(os.environ.get("FRESHET_TEST_KAFKA", Path(__file__).parents[2] / "shared" / "kafka")).absolute()

EMBEDDED, REAL = "embedded", "kafka"
BY_FIXTURE = {"broker_address", "link", "distribution"}

# What workers take their ports from, each its own share: what a worker's test was given and does not listen on yet is
# nobody else's. It lies beside the range of the systems that tests start as processes.
PORTS = range(8_000, 20_000)
# What takes longest begins first, so that no worker is left with it at the end.
FIRST = ("stack", "kafka", "e2e", "integration", "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        default=EMBEDDED,
        help=(
            "what the tests run on: embedded (the default), kafka (a real Apache Kafka, started from the distribution "
            "that FRESHET_TEST_KAFKA names), or the host:port of a broker that runs already"
        ),
    )


def pytest_configure(config: pytest.Config) -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        n, of = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        broker.PORTS = PORTS[n % of :: of]
        # The workers are beside each other already: more threads in each would only wait for one another.
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(1)
        threadpool_limits(1, "blas")
    chosen = config.getoption("--broker")
    if chosen == EMBEDDED:
        os.environ[QUICK_GROUPS] = "1"
    if chosen == REAL and (missing := apache_kafka.what_is_missing(KAFKA)):
        raise pytest.UsageError(f"--broker kafka: {missing}")
    if chosen not in (EMBEDDED, REAL) and not broker.accepts(chosen):
        raise pytest.UsageError(f"--broker {chosen}: nobody answers there; embedded, kafka or host:port is meant")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return Spread(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=place)
    if config.getoption("--broker") == EMBEDDED:
        return
    kept, left_out = [], []
    for item in items:
        uses_one = not BY_FIXTURE.isdisjoint(getattr(item, "fixturenames", ()))
        (kept if uses_one else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


class Spread(LoadScopeScheduling):
    """Gives a worker that is free the next test, or the next file whose tests share what is made once for the file."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False  # `place` has put them in order
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if shares_fixtures(file) else nodeid


@cache
def shares_fixtures(file: str) -> bool:
    """Whether something is made once for all tests of a file."""
    return 'scope="module"' in (ROOT / file).read_text(encoding="utf-8")


def place(item: pytest.Item) -> int:
    """When it begins, beside others; those of one place keep their order."""
    kind = item.path.relative_to(Path(__file__).parent).parts[0]
    return FIRST.index(kind) if kind in FIRST else len(FIRST)


@pytest.fixture(scope="session")
def distribution() -> Path:
    """The folder of an Apache Kafka, for tests that start brokers of their own."""
    if missing := apache_kafka.what_is_missing(KAFKA):
        pytest.skip(missing)
    return KAFKA


@pytest.fixture(scope="session")
def kafka_cluster(distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker of Apache Kafka that lives as long as the test session, reached directly or through a link."""
    cluster = Cluster(distribution, tmp_path_factory.mktemp("kafka"), linked_port=broker.free_port())
    with apache_kafka.running(cluster):
        yield cluster


@pytest.fixture(scope="session")
def broker_address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a broker that lives as long as the test session."""
    chosen = request.config.getoption("--broker")
    if chosen == EMBEDDED:
        with broker.running(tmp_path_factory.mktemp("broker") / "broker.log") as address:
            yield address
    elif chosen == REAL:
        yield request.getfixturevalue("kafka_cluster").addresses()
    else:
        yield chosen


@pytest.fixture
def kafka(broker_address: str) -> KafkaSettings:
    """Settings with a topic prefix of the test's own, its topics created."""
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    return settings


@pytest.fixture
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Link]:
    """A line to a broker that keeps its log while the line is cut."""
    chosen = request.config.getoption("--broker")
    if chosen not in (EMBEDDED, REAL):
        pytest.skip("needs a broker that sends its clients back through a line that can be cut")
    with ExitStack() as stack:
        if chosen == EMBEDDED:
            yield stack.enter_context(broker_behind_a_link(tmp_path / "broker.log"))
        else:
            cluster: Cluster = request.getfixturevalue("kafka_cluster")
            made = Link(cluster.linked_port, cluster.behind_the_link)
            stack.callback(made.close)
            yield made


@pytest.fixture
def linked(link: Link) -> KafkaSettings:
    """Settings that reach a broker through `link`, with a topic prefix of the test's own and no topics yet."""
    return KafkaSettings(
        bootstrap_servers=f"127.0.0.1:{link.port}", topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3
    )


@pytest.fixture
def data() -> Path:
    """The folder of real reviews."""
    if not DATA.is_dir():
        pytest.skip(f"no real reviews at {DATA}; set FRESHET_TEST_DATA to a folder that holds them")
    return DATA
