"""`python -m replay run`: from a file to acknowledged events."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import threading
import time

from replay import metrics
from replay.beginning import beginning
from replay.ending import moved_ms
from replay.mapping import load_mapping
from replay.ordered_copy import OrderedCopy, selection_of
from replay.ordering import ordered_copy
from replay.pacing import Asked, Pace
from replay.producer import Sender
from replay.progress import Watch
from replay.script import Script
from replay.settings import ReplaySettings
from replay.standing import Task
from replay.state_folder import alone
from replay.stopped import Stopped
from shared.errors import Unusable
from shared.kafka.clients import CountedProducer, producer_config
from shared.settings import KafkaSettings

log = logging.getLogger("replay")


def run(arguments: argparse.Namespace, settings: ReplaySettings, kafka: KafkaSettings, stop: threading.Event) -> None:
    """Replay a file until everything was acknowledged, or until `stop`.

    Raises:
        Unusable: what was given can't be used.
        Unavailable: the broker refused a message for good.
    """
    watch = Watch(stop, sys.stderr if sys.stderr.isatty() else None, every_seconds=settings.progress_seconds)
    mapping = None if arguments.mapping is None else load_mapping(arguments.mapping)
    sender: Sender | None = None
    try:
        with alone(settings.state_dir):
            metrics.READY.set(1)
            # Made first: it takes a second until the broker has given it an id.
            producer = CountedProducer(producer_config(kafka, queue_messages=settings.queue_messages))
            copy = ordered_copy(arguments.file, arguments.metadata, settings, watch, mapping)
            task = _task(arguments, copy, settings, _moved_ms(arguments, copy))
            position = beginning(
                task, kafka, settings.state_dir, stop, resume=arguments.resume, ending=arguments.ending
            )
            if position.moved_ms != task.script.moved_ms:
                task = _task(arguments, copy, settings, position.moved_ms)
            sender = Sender(task, position, producer, settings, kafka, watch)
            sender.run()
            metrics.DONE.set(1)
            if copy.summary.reviews.broken:
                log.warning("not all of the file was sent: %s", copy.summary.reviews.broken)
    except Stopped:
        if sender is None:
            log.info("stopped before anything was sent")
        else:
            log.info(
                "stopped after %s of %s events, all acknowledged and the position kept; go on with: %s",
                f"{sender.standing.acknowledged:,}",
                f"{sender.standing.total:,}",
                _to_resume(sys.argv[1:]),
            )
        return
    if arguments.stay:
        log.info("staying up until it is stopped")
        stop.wait()


def _moved_ms(arguments: argparse.Namespace, copy: OrderedCopy) -> int:
    """What --ending adds to event times."""
    if arguments.ending is None:
        return 0
    tables = copy.summary.tables
    return moved_ms(arguments.ending, tables.first_ms, tables.last_ms, time.time_ns() // 1_000_000)


def _task(arguments: argparse.Namespace, copy: OrderedCopy, settings: ReplaySettings, moved_ms: int) -> Task:
    selection = selection_of(arguments)
    extent = copy.extent(selection)
    end_ms = extent.last_ms + copy.summary.tables.resolution_ms
    asked = Asked(within_seconds=arguments.within, evenly=arguments.evenly, speed=arguments.speed, rate=arguments.rate)
    pace = Pace.of(asked, extent.first_ms, end_ms, extent.events)
    script = Script(copy.summary.fingerprint, extent, pace, settings.tick_events, settings.tick_seconds, moved_ms)
    loops = arguments.loop or script.most_loops
    if loops > script.most_loops:
        raise Unusable(
            f"--loop {loops}: event times go on from loop to loop, and {script.most_loops} loops of this dataset "
            "reach the year 2200; ask for fewer"
        )
    return Task(copy, selection, script, loops)


def _to_resume(arguments: list[str]) -> str:
    again = arguments if "--resume" in arguments else [*arguments, "--resume"]
    return shlex.join(["python", "-m", "replay", *again])
