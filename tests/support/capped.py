"""Ordering a dataset in a process whose memory is capped, and files large enough for that to matter.

    python -m tests.support.capped CAP_BYTES ORDERING_MEMORY_MB FILE STATE_DIR

The cap is RLIMIT_DATA: Linux refuses any private memory beyond it, whether it has been touched or not, so that it is
stricter than a cap on what is resident, and needs no rights.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

FIRST_SECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a capped process.

    Attributes:
        failed: what it said when the cap ended it; empty: it did its work.
        peak_bytes: what was resident at most, code and libraries included.
        events: how many were put in order.
        in_order: whether their times ascend.
    """

    failed: str
    peak_bytes: int = 0
    events: int = 0
    in_order: bool = False


def write_reviews(path: Path, *, size_bytes: int, text_characters: int, seed: int = 7) -> int:
    """Write reviews in SNAP's form, their times in no order, until the file is so large; how many there are."""
    from replay.sample.reviews import SENTENCES  # not before the cap is set: imports take memory

    rng = random.Random(seed)
    words = " ".join(rng.choices([sentence for some in SENTENCES.values() for sentence in some], k=20_000))
    written = count = 0
    with path.open("w", encoding="utf-8") as sink:
        while written < size_bytes:
            start = rng.randrange(len(words) - text_characters)
            text = words[start : start + text_characters]
            line = {
                "reviewerID": f"A{rng.randrange(20_000)}",
                "asin": f"B{rng.randrange(5_000)}",
                "helpful": [rng.randrange(3), 3],
                "reviewText": f"{count} {text}",
                "overall": float(rng.randint(1, 5)),
                "unixReviewTime": FIRST_SECONDS + rng.randrange(300_000_000),
            }
            written += sink.write(json.dumps(line) + "\n")
            count += 1
    return count


def ordered_capped(
    file: Path, state_dir: Path, *, cap_bytes: int, ordering_memory_mb: int, seconds: float = 600.0
) -> Outcome:
    """Put a file in order, and read it in that order, with the memory capped.

    Args:
        ordering_memory_mb: as in FRESHET_REPLAY_ORDERING_MEMORY_MB; where it exceeds the file nothing goes to the disk.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.capped", *map(str, (cap_bytes, ordering_memory_mb, file, state_dir))],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy reserves memory for each of its threads
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "Error" in line or "Unusable" in line]
        return Outcome(failed=(errors or [f"ended with {done.returncode}"])[-1][:300])
    return Outcome(failed="", **json.loads(done.stdout))


def _order(file: Path, state_dir: Path, ordering_memory_mb: int) -> tuple[int, bool]:
    from prometheus_client import CollectorRegistry

    from replay.metrics import ReplayMetrics
    from replay.order.ordered_copy import Selection
    from replay.order.ordering import ordered_copy
    from replay.settings import ReplaySettings
    from shared.process.terminal import Watch

    settings = ReplaySettings(state_dir=state_dir, ordering_memory_mb=ordering_memory_mb)
    copy = ordered_copy(file, None, settings, Watch(threading.Event()), metrics=ReplayMetrics(CollectorRegistry()))
    selection = Selection()
    reached_ms = count = 0
    in_order = True
    for stored in copy.events(selection, copy.extent(selection)):
        in_order = in_order and stored.event.event_time_ms >= reached_ms
        reached_ms = stored.event.event_time_ms
        count += 1
    return count, in_order


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


def main(cap_bytes: str, ordering_memory_mb: str, file: str, state_dir: str) -> None:
    """Do the work and print what became of it."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(cap_bytes), int(cap_bytes)))
    events, in_order = _order(Path(file), Path(state_dir), int(ordering_memory_mb))
    json.dump({"peak_bytes": _peak_bytes(), "events": events, "in_order": in_order}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
