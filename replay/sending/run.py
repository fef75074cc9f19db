"""`python -m replay run`: replays a file until the broker has acknowledged every event.

The order of the work: the ordered copy, where to begin (`beginning`), then the `Sender`.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from replay.metrics import ReplayMetrics
from replay.options import Ending, moment, moved_ms
from replay.order.ordered_copy import SUMMARY, OrderedCopy, Selection, Summary, alone, selection_of
from replay.order.ordering import ordered_copy
from replay.reading.mapping import load_mapping
from replay.sending.producer import Sender
from replay.sending.progress import POSITION, ReplayPosition, ReplayTask
from replay.sending.script import PaceOptions, ReplayPace, Script
from replay.settings import ReplaySettings
from shared.log.clients import CountedProducer, producer_config
from shared.log.records import AHEAD_MS, FUTURE_TIME
from shared.log.topics import Topics, ensure_topics, log_identity
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings
from shared.process.terminal import Stopped, Watch

log = logging.getLogger("replay")


def run(
    arguments: argparse.Namespace,
    settings: ReplaySettings,
    kafka: KafkaSettings,
    metrics: ReplayMetrics,
    stop: threading.Event,
) -> None:
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
            metrics.ready.set(1)
            # Made first: the broker takes a second to give it an id.
            producer = CountedProducer(producer_config(kafka, queue_messages=settings.queue_messages))
            copy = ordered_copy(arguments.file, arguments.metadata, settings, watch, mapping, metrics=metrics)
            task = _task(arguments, copy, settings, _moved_ms(arguments, copy))
            position = beginning(
                task, kafka, settings.state_dir, stop, resume=arguments.resume, ending=arguments.ending
            )
            if position.moved_ms != task.script.moved_ms:
                task = _task(arguments, copy, settings, position.moved_ms)
            _warn_of_future(task, position, _now_ms())
            sender = Sender(task, position, producer, settings, kafka, watch, metrics)
            sender.run()
            metrics.done.set(1)
            if copy.summary.reviews.broken:
                log.warning("the file was not sent completely: %s", copy.summary.reviews.broken)
    except Stopped:
        if sender is None:
            log.info("stopped before anything was sent")
        else:
            log.info(
                "stopped after %s of %s events, all acknowledged, and the position is saved; go on with: %s",
                f"{sender.progress.acknowledged:,}",
                f"{sender.progress.total:,}",
                _to_resume(sys.argv[1:]),
            )
        return
    if arguments.stay:
        log.info("all is sent; staying up until stopped")
        stop.wait()


def _task(arguments: argparse.Namespace, copy: OrderedCopy, settings: ReplaySettings, moved_ms: int) -> ReplayTask:
    selection = selection_of(arguments)
    extent = copy.extent(selection)
    end_ms = extent.last_ms + copy.summary.tables.resolution_ms
    pace_options = PaceOptions(
        within_seconds=arguments.within, evenly=arguments.evenly, speed=arguments.speed, rate=arguments.rate
    )
    pace = ReplayPace.of(pace_options, extent.first_ms, end_ms, extent.events)
    script = Script(copy.summary.fingerprint, extent, pace, settings.tick_events, settings.tick_seconds, moved_ms)
    most = script.loops_until(_now_ms())
    loops = arguments.loop or most
    if loops > script.most_loops:
        raise Unusable(
            f"--loop {loops}: event times grow from loop to loop, and {script.most_loops} loops of this dataset "
            "reach the year 2200; ask for fewer loops"
        )
    if loops > most:
        raise Unusable(
            f"--loop {loops}: event times grow from loop to loop, and after loop {most} of this dataset they would lie "
            "more than a day ahead of the clock; ask for fewer loops, an earlier --ending, or an earlier --until"
        )
    return ReplayTask(copy, selection, script, loops)


def _moved_ms(arguments: argparse.Namespace, copy: OrderedCopy) -> int:
    """What --ending adds to event times."""
    if arguments.ending is None:
        return 0
    last_ms, now_ms = _last_ms(copy, selection_of(arguments), _now_ms()), _now_ms()
    return moved_ms(arguments.ending, copy.summary.tables.first_ms, last_ms, now_ms)


def _last_ms(copy: OrderedCopy, selection: Selection, now_ms: int) -> int:
    """The event that --ending goes by: the dataset's last, but none that lies ahead of the clock and is left out."""
    return copy.newest_ms(Selection(), max(now_ms + AHEAD_MS, selection.until_ms - 1)) or copy.summary.tables.last_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _warn_of_future(task: ReplayTask, position: ReplayPosition, now_ms: int) -> None:
    """Say how many events features would refuse, were they recorded now, and how to leave them out."""
    if position.loop or position.sequence >= task.script.extent.last_sequence:  # later loops hold none
        return
    limit_ms = now_ms + AHEAD_MS
    if later := task.copy.later_than(task.selection, limit_ms - position.moved_ms):
        log.warning(
            "%s of %s events lie more than a day ahead of the clock, from %s on: those that still do when they are "
            "sent go to the dead letters (%s). --until %s leaves them out",
            f"{later.events:,}",
            f"{task.script.extent.events:,}",
            moment(later.first_ms + position.moved_ms),
            FUTURE_TIME,
            moment(later.first_ms),
        )
    if position.moved_ms < 0 and (later := task.copy.later_than(task.selection, limit_ms)):
        log.warning(
            "%s events have times more than a day ahead of the clock in the file, from %s on, and --ending moves all "
            "events by the last of them. If these times are wrong, --until %s leaves them out",
            f"{later.events:,}",
            moment(later.first_ms),
            moment(later.first_ms),
        )


def beginning(
    task: ReplayTask,
    kafka: KafkaSettings,
    state_dir: Path,
    stop: threading.Event,
    *,
    resume: bool,
    ending: Ending | None = None,
) -> ReplayPosition:
    """Where to begin. Creates missing topics, and waits for a broker that is away.

    A dataset keeps the event times that it was first sent to a log with, so `--ending now` reuses them.

    Raises:
        Unusable: this replay does not fit what was sent to the log before.
        Stopped: `stop` was set first.
    """
    ensure_topics(kafka, stop=stop)
    identity = _identity(kafka, stop)
    kept = ReplayPosition.load(task.copy.folder)
    moved_ms = task.script.moved_ms
    if resume:
        if kept is not None:
            _refuse_other(kept, identity, task.selection)
            if ending is not None:
                _refuse_moved(kept, task, ending)
            return kept
        log.info("%s holds no position of this dataset: starting at its beginning", task.copy.folder)
    elif kept is not None and kept.log_identity == identity:
        _judge_second(kept, task.selection)
        _refuse_moved(kept, task, ending)
        moved_ms = kept.moved_ms
    else:
        _warn_of_twins(task.copy, identity, state_dir)
    return ReplayPosition(
        fingerprint=task.copy.summary.fingerprint, log_identity=identity, selection=task.selection, moved_ms=moved_ms
    )


def _refuse_other(kept: ReplayPosition, identity: str, selection: Selection) -> None:
    if kept.log_identity != identity:
        raise Unusable(
            f"--resume: the saved position belongs to another log ({kept.log_identity}; this one is {identity}); "
            "to send everything to this log, leave --resume out"
        )
    if kept.selection != selection:
        raise Unusable(
            f"--resume: the replay before sent {kept.selection.as_options()}, not {selection.as_options()}; ask for "
            "the same, or leave --resume out and use another log (FRESHET_KAFKA_TOPIC_PREFIX)"
        )


def _refuse_moved(kept: ReplayPosition, task: ReplayTask, ending: Ending | None) -> None:
    """Refuse to send a dataset to the same log twice with different event times."""
    if ending == "now" or task.script.moved_ms == kept.moved_ms:
        return
    last_ms = _last_ms(task.copy, task.selection, _now_ms()) + kept.moved_ms
    day = datetime.fromtimestamp(last_ms / 1000, UTC).strftime("%Y-%m-%d")
    raise Unusable(
        f"this dataset was sent to this log before, with --ending {day}: ask for that, or for --ending now, or use "
        "another log (FRESHET_KAFKA_TOPIC_PREFIX)"
        if kept.moved_ms
        else "this dataset was sent to this log before, without --ending: leave it out, or use another log "
        "(FRESHET_KAFKA_TOPIC_PREFIX)"
    )


def _judge_second(kept: ReplayPosition, selection: Selection) -> None:
    """Warn that readers skip what they have seen; refuse a selection of which they would skip new events.

    Readers remember the highest sequence of a dataset that they have seen, and take any lower one for a repeat.
    """
    if selection.users_share > kept.selection.users_share or selection.from_ms < kept.selection.from_ms:
        raise Unusable(
            f"{kept.selection.as_options()} of this dataset was sent to this log before, and readers would take the "
            f"new events of {selection.as_options()} for repeats: use another log (FRESHET_KAFKA_TOPIC_PREFIX), or "
            "select the same"
        )
    log.warning(
        "this log already holds the dataset up to event %s of loop %d, and readers skip what they have seen. "
        "--resume goes on from there; another FRESHET_KAFKA_TOPIC_PREFIX starts afresh",
        f"{kept.sequence:,}",
        kept.loop,
    )


def _identity(kafka: KafkaSettings, stop: threading.Event) -> str:
    while not stop.is_set():
        try:
            return log_identity(kafka, Topics.of(kafka).events)
        except Unavailable as error:
            log.warning("%s; trying again", error)
            stop.wait(1.0)
    raise Stopped


def _warn_of_twins(copy: OrderedCopy, identity: str, state_dir: Path) -> None:
    """Warn if the same reviews were sent to this log with other metadata: readers can't recognise them."""
    for file in state_dir.glob(f"*/{POSITION}"):
        other = ReplayPosition.load(file.parent)
        if other is None or other.log_identity != identity or file.parent == copy.folder:
            continue
        summary = Summary.model_validate_json((file.parent / SUMMARY).read_bytes())
        if summary.reviews.sha256 == copy.summary.reviews.sha256:
            log.warning(
                "this log already holds the same reviews, sent with other metadata: they will count a second time. "
                "Another FRESHET_KAFKA_TOPIC_PREFIX keeps them apart"
            )
            return


def _to_resume(arguments: list[str]) -> str:
    again = arguments if "--resume" in arguments else [*arguments, "--resume"]
    return shlex.join(["python", "-m", "replay", *again])
