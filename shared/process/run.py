"""What the `__main__` of every service does: read the settings, start logs and metrics, work until told to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings

from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings, ServiceSettingsT, describe, load
from shared.process.telemetry import new_registry, setup_logging, start_metrics

FAILED, UNUSABLE = 1, 2


def run_service(
    name: str,
    about: str | None,
    settings_class: type[ServiceSettingsT],
    work: Callable[[ServiceSettingsT, KafkaSettings, CollectorRegistry, threading.Event], None],
    *,
    also: Sequence[type[BaseSettings]] = (),
) -> int:
    """Run a service until SIGTERM or Ctrl-C; its exit status.

    Args:
        name: as in `services.<name>` and its metrics.
        about: what `--help` says before the settings.
        work: takes the settings, the registry of its metrics and the event; returns once the event is set and what is
            in flight is finished.
        also: further settings that `work` reads, for `--help`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}",
        description=about,
        epilog=describe(settings_class, *also, KafkaSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    registry = new_registry()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log = logging.getLogger(name)
    try:
        settings, kafka = load(settings_class), load(KafkaSettings)
        setup_logging(settings)
        if settings.serves_metrics:
            start_metrics(name, settings, registry)
        work(settings, kafka, registry, stop)
    except Unusable as error:
        print(f"{name}: {error}", file=sys.stderr)
        return UNUSABLE
    except Unavailable as error:
        log.error("%s", error)  # noqa: TRY400  # the message says all
        return FAILED
    except KafkaException as error:
        log.error("the log can't be followed any longer (%s); start again to read it anew", error.args[0].str())  # noqa: TRY400
        return FAILED
    log.info("stopped")
    return 0
