"""Where a replay begins: at the dataset's beginning, or where the last replay of it ended."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from replay.ending import Ending
from replay.ordered_copy import SUMMARY, OrderedCopy, Selection, Summary
from replay.position import POSITION, Position
from replay.standing import Task
from replay.stopped import Stopped
from shared.errors import Unavailable, Unusable
from shared.settings import KafkaSettings
from shared.topics import Topics, ensure_topics, log_identity

log = logging.getLogger("replay")


def beginning(
    task: Task,
    kafka: KafkaSettings,
    state_dir: Path,
    stop: threading.Event,
    *,
    resume: bool,
    ending: Ending | None = None,
) -> Position:
    """Where to begin; topics are created where they are missing, and a broker that is away is waited for.

    What was sent to a log before has moved event times for good: `ending` now goes on with that.

    Raises:
        Unusable: what was sent before and what is to be sent now don't go together.
        Stopped: `stop` came first.
    """
    ensure_topics(kafka, stop=stop)
    identity = _identity(kafka, stop)
    kept = Position.load(task.copy.folder)
    moved_ms = task.script.moved_ms
    if resume:
        if kept is not None:
            _refuse_other(kept, identity, task.selection)
            if ending is not None:
                _refuse_moved(kept, task, ending)
            return kept
        log.info("no position of this dataset is kept in %s: starting at its beginning", task.copy.folder)
    elif kept is not None and kept.log_identity == identity:
        _judge_second(kept, task.selection)
        _refuse_moved(kept, task, ending)
        moved_ms = kept.moved_ms
    else:
        _warn_of_twins(task.copy, identity, state_dir)
    return Position(
        fingerprint=task.copy.summary.fingerprint, log_identity=identity, selection=task.selection, moved_ms=moved_ms
    )


def _refuse_other(kept: Position, identity: str, selection: Selection) -> None:
    if kept.log_identity != identity:
        raise Unusable(
            f"--resume: the position is one in another log ({kept.log_identity}, this is {identity}); "
            "to send everything to this one, leave --resume out"
        )
    if kept.selection != selection:
        raise Unusable(
            f"--resume: the replay it goes on from sent {kept.selection.told()}, not {selection.told()}; ask for the "
            "same, or leave --resume out and use another log (FRESHET_KAFKA_TOPIC_PREFIX)"
        )


def _refuse_moved(kept: Position, task: Task, ending: Ending | None) -> None:
    """Refuse other event times than those that were sent before: one dataset has one time in a log."""
    if ending == "now" or task.script.moved_ms == kept.moved_ms:
        return
    last_ms = task.copy.summary.tables.last_ms + kept.moved_ms
    day = datetime.fromtimestamp(last_ms / 1000, UTC).strftime("%Y-%m-%d")
    raise Unusable(
        f"this dataset was sent to this log before, with --ending {day}: ask for that, or for --ending now, or use "
        "another log (FRESHET_KAFKA_TOPIC_PREFIX)"
        if kept.moved_ms
        else "this dataset was sent to this log before, without --ending: leave it out, or use another log "
        "(FRESHET_KAFKA_TOPIC_PREFIX)"
    )


def _judge_second(kept: Position, selection: Selection) -> None:
    """Say what a second replay into the same log does; refuse one that would silently lack events.

    Readers remember the highest number they have seen of a dataset: lower ones they take for repeats.
    """
    if selection.users_share > kept.selection.users_share or selection.from_ms < kept.selection.from_ms:
        raise Unusable(
            f"{kept.selection.told()} of this dataset was sent to this log before, and readers would take what is new "
            f"in {selection.told()} for repeats: use another log (FRESHET_KAFKA_TOPIC_PREFIX), or ask for the same"
        )
    log.warning(
        "this log holds the dataset up to event %s of loop %d already: readers leave out what they have seen. "
        "--resume goes on from there; another FRESHET_KAFKA_TOPIC_PREFIX starts anew",
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
    """Say when the same reviews were sent to the same log with other metadata: readers can't know them again."""
    for file in state_dir.glob(f"*/{POSITION}"):
        other = Position.load(file.parent)
        if other is None or other.log_identity != identity or file.parent == copy.folder:
            continue
        summary = Summary.model_validate_json((file.parent / SUMMARY).read_bytes())
        if summary.reviews.sha256 == copy.summary.reviews.sha256:
            log.warning(
                "this log holds the same reviews already, sent with other metadata: now they count a second time. "
                "Another FRESHET_KAFKA_TOPIC_PREFIX keeps them apart"
            )
            return
