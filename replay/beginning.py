"""Where a replay begins: at the dataset's beginning, or where the last replay of it ended."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from replay.ordered_copy import SUMMARY, OrderedCopy, Selection, Summary
from replay.position import POSITION, Position
from replay.standing import Task
from replay.stopped import Stopped
from shared.errors import Unavailable, Unusable
from shared.settings import KafkaSettings
from shared.topics import Topics, ensure_topics, log_identity

log = logging.getLogger("replay")


def beginning(task: Task, kafka: KafkaSettings, state_dir: Path, stop: threading.Event, *, resume: bool) -> Position:
    """Where to begin; topics are created where they are missing, and a broker that is away is waited for.

    Raises:
        Unusable: what was sent before and what is to be sent now don't go together.
        Stopped: `stop` came first.
    """
    ensure_topics(kafka, stop=stop)
    identity = _identity(kafka, stop)
    kept = Position.load(task.copy.folder)
    if resume:
        if kept is not None:
            _refuse_other(kept, identity, task.selection)
            return kept
        log.info("no position of this dataset is kept in %s: starting at its beginning", task.copy.folder)
    elif kept is not None and kept.log_identity == identity:
        _judge_second(kept, task.selection)
    else:
        _warn_of_twins(task.copy, identity, state_dir)
    return Position(fingerprint=task.copy.summary.fingerprint, log_identity=identity, selection=task.selection)


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
