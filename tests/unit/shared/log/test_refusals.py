"""What a Kafka client says of a broker that lets it in no longer."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError

from shared.log.clients import client_config, refusal
from shared.process.settings import KafkaSettings

WRONG_PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "Invalid username or password")
UNTRUSTED = KafkaError(KafkaError._SSL, "certificate verify failed")
AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")


def test_a_refusal_names_the_settings_to_check() -> None:
    assert "Invalid username or password; check FRESHET_KAFKA_SASL_USERNAME, the password in" in refusal(WRONG_PASSWORD)
    assert "certificate verify failed; check FRESHET_KAFKA_SSL_CA_FILE" in refusal(UNTRUSTED)
    assert refusal(AWAY) == ""


def test_a_client_that_is_refused_in_the_middle_says_so_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    report = client_config(KafkaSettings())["error_cb"]
    with caplog.at_level(logging.INFO, logger="kafka"):
        for _ in range(3):
            for error in (WRONG_PASSWORD, AWAY):
                report(error)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in lines] == ["ERROR", "WARNING"]
    assert "FRESHET_KAFKA_SASL_PASSWORD_FILE" in lines[0][1]
    assert lines[0][1].endswith("; trying on")
    assert "no Kafka broker answers" in lines[1][1]
