"""Checkpoints: all of the learner and exactly where in the log it stands, durable in one step.

A checkpoint is a folder that appears whole or not at all:

    blocks-<events>   4 KiB pieces of the learner's arrays, in the pack of the checkpoint that first held them: its own
                      pack is written, earlier ones are hard links to files that are durable already
    places            of each piece of each array, its pack and its number there
    state.json        all else, the arrays' types and shapes, and the SHA-256 of each file

So it costs what changed since the one before. The newest two are kept, so that damage to what the newest alone holds
costs only the events since the one before.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from services.trainer import blocks
from services.trainer.blocks import BLOCK, Placed
from services.trainer.learner import LearnerSnapshot, LearnerState
from services.trainer.metrics import TrainerMetrics
from services.trainer.settings import TrainerSettings
from shared.log.ordered import ReaderSnapshot
from shared.process.errors import Unusable
from shared.process.folders import Digest, read_folder, what_is_wrong, write_folder
from shared.process.settings import names_of
from shared.state.shop import ShopSettings
from shared.state.tally import MEANING

log = logging.getLogger("trainer")

SCHEMA_VERSION = 6
KEPT = 2
PLACES = "places"
STATE = "state.json"

# What may differ between a checkpoint and the settings it is resumed with: nothing that is learned depends on these; of
# `pace`, the checkpoint tells what it has skipped.
FREE_SETTINGS = frozenset(
    {
        "log_level", "log_format", "metrics_host", "metrics_port", "state_dir", "silence_seconds",
        "checkpoint_events", "publish_events", "niceness", "models_dir", "place_new_products",
        "pace",
    }
)  # fmt: skip


class State(TypedDict):
    """`state.json`."""

    schema_version: int
    sha256: dict[str, str]  # of each other file
    arrays: dict[str, tuple[str, list[int]]]  # type and shape, in the order of the places
    log_identity: str
    tally: str  # `shared.state.tally.MEANING`
    settings: dict[str, object]
    reader: ReaderSnapshot
    learner: LearnerState


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A learner and the place in the log it has learned up to."""

    learner: LearnerSnapshot
    reader: ReaderSnapshot
    log_identity: str


def fixed_settings(settings: TrainerSettings, shop: ShopSettings) -> dict[str, object]:
    """The settings that what is learned depends on, the trainer's and the shop's, by the names of their fields."""
    free = set(FREE_SETTINGS)
    values: dict[str, object] = settings.model_dump(mode="json", exclude=free) | shop.model_dump(
        mode="json", exclude=free
    )
    return values


class CheckpointWriter:
    """Writes checkpoints, each of what changed since the one that it wrote before; the first in full."""

    def __init__(self, settings: TrainerSettings, shop: ShopSettings, metrics: TrainerMetrics) -> None:
        self._settings = settings
        self._shop = shop
        self._metrics = metrics
        self._before: Written | None = None

    def write(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and drop those no longer needed.

        Raises:
            OSError: the disk is full, say; the earlier checkpoints are untouched.
        """
        root, number = self._settings.state_dir, checkpoint.learner.state["stream"]["applied"]
        folder = root / f"checkpoint-{number:012d}"
        if not folder.exists():
            try:
                self._before = self._write(checkpoint, folder, number, self._before)
            except OSError as error:
                if self._before is None or error.errno == errno.ENOSPC:
                    raise
                log.info("can't build on %s: %s. Writing all of it", self._before.folder, what_is_wrong(error))
                self._before = None
                self._before = self._write(checkpoint, folder, number, None)
        for old in _folders(root)[:-KEPT]:
            try:
                shutil.rmtree(old)
            except OSError as error:
                self._metrics.removal_failures.inc()
                log.error(  # noqa: TRY400
                    "can't remove %s: %s. Trying again after the next checkpoint", old, what_is_wrong(error)
                )
        return folder

    def _write(self, checkpoint: Checkpoint, folder: Path, number: int, before: Written | None) -> Written:
        placed, new = blocks.pack(checkpoint.learner.arrays, number, before.placed if before else None)
        earlier = {} if before is None else {_name_of(n): before.folder / _name_of(n) for n in placed.packs - {number}}
        sha256 = {} if before is None else {name: before.sha256[name] for name in earlier}

        def state(digests: Mapping[str, Digest]) -> bytes:
            sha256.update({name: digest.sha256 for name, digest in digests.items()})
            content = State(
                schema_version=SCHEMA_VERSION,
                sha256=sha256,
                arrays={name: (array.dtype.str, [*array.shape]) for name, array in placed.arrays.items()},
                log_identity=checkpoint.log_identity,
                tally=MEANING,
                settings=fixed_settings(self._settings, self._shop),
                reader=checkpoint.reader,
                learner=checkpoint.learner.state,
            )
            return json.dumps(content).encode()

        places = np.concatenate([*placed.places.values()])
        pieces = (each.reshape(-1).data for each in new)
        write_folder(folder, {_name_of(number): pieces, PLACES: places.tobytes()}, STATE, state, [*earlier.values()])
        return Written(folder, placed, sha256)


@dataclass(frozen=True, slots=True)
class Written:
    """What a checkpoint on disk holds."""

    folder: Path
    placed: Placed
    sha256: dict[str, str]  # of its files


def newest(settings: TrainerSettings, shop: ShopSettings) -> Checkpoint | None:
    """The newest checkpoint that is whole, None when there is none at all.

    Raises:
        Unusable: all are damaged, a damaged one can't be put aside, or the newest was made with other settings.
    """
    folders = _folders(settings.state_dir)
    for folder in reversed(folders):
        try:
            state, tensors = _read(folder)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            log.warning("checkpoint %s is damaged: %s. It is put aside; trying the one before", folder, error)
            _put_aside(folder)
            continue
        _refuse_other_settings(folder, state["settings"], fixed_settings(settings, shop))
        return Checkpoint(LearnerSnapshot(tensors, state["learner"]), state["reader"], state["log_identity"])
    if folders:
        raise Unusable(
            f"every checkpoint in {settings.state_dir} is damaged and was put aside; restore one from a backup, "
            "or start again to learn from the beginning of the log"
        )
    return None


def _put_aside(folder: Path) -> None:
    """Give a damaged checkpoint another name, so that the next one of as many events does not take it for itself.

    Raises:
        Unusable: it can't be renamed.
    """
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder.rename(aside)
    except OSError as error:
        raise Unusable(
            f"can't rename the damaged checkpoint {folder} to {aside.name}: {what_is_wrong(error)}. "
            f"Remove both, or move them elsewhere, and start again to go on from the checkpoint before"
        ) from error


def _folders(root: Path) -> list[Path]:
    return sorted(root.glob("checkpoint-*")) if root.is_dir() else []


def _read(folder: Path) -> tuple[State, dict[str, NDArray[Any]]]:
    state: State = json.loads((folder / STATE).read_bytes())
    if state["schema_version"] != SCHEMA_VERSION:
        raise Unusable(
            f"{folder} has schema {state['schema_version']}, this trainer reads {SCHEMA_VERSION}; "
            "run the release that wrote it, or move the folder away to learn anew"
        )
    if state["tally"] != MEANING:
        raise Unusable(
            f"{folder} has counted {state['tally']}; this trainer counts {MEANING}; "
            "run the release that wrote it, or move the folder away to learn anew"
        )
    content = read_folder(folder, STATE, {name: Digest(sha256) for name, sha256 in state["sha256"].items()})
    places = np.frombuffer(content.pop(PLACES), np.int64).reshape(-1, 2)
    packs = {_number_of(name): np.frombuffer(pack, np.uint8).reshape(-1, BLOCK) for name, pack in content.items()}
    return state, blocks.unpack(state["arrays"], places, packs)


def _name_of(pack: int) -> str:
    return f"blocks-{pack:012d}"


def _number_of(name: str) -> int:
    return int(name.removeprefix("blocks-"))


def _refuse_other_settings(folder: Path, then: Mapping[str, object], now: Mapping[str, object]) -> None:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            raise Unusable(
                f"{folder} was learned with {_variable(name)}={then.get(name)}, now it is "
                f"{now.get(name)}; set it back, or give another FRESHET_TRAINER_STATE_DIR to learn anew"
            )


def _variable(name: str) -> str:
    """The variable that a field is read from; one that this release has no more was the trainer's."""
    for cls in (TrainerSettings, ShopSettings):
        if name in cls.model_fields:
            return dict(zip(cls.model_fields, names_of(cls), strict=True))[name]
    return f"FRESHET_TRAINER_{name.upper()}"
