"""Fixtures that every test may use: one embedded broker a session, a fresh topic prefix a test, the real reviews."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded import broker
from shared.settings import KafkaSettings
from shared.topics import ensure_topics

# Real reviews, where this machine has them; tests that use them are left out elsewhere.
DATA = Path(os.environ.get("FRESHET_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def broker_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a broker that lives as long as the test session."""
    with broker.running(tmp_path_factory.mktemp("broker") / "broker.log") as address:
        yield address


@pytest.fixture
def kafka(broker_address: str) -> KafkaSettings:
    """Settings with a topic prefix of the test's own, its topics created."""
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    return settings


@pytest.fixture
def data() -> Path:
    """The folder of real reviews."""
    if not DATA.is_dir():
        pytest.skip(f"no real reviews at {DATA}; set FRESHET_TEST_DATA to a folder that holds them")
    return DATA
