"""Writes the client for threads from the one for asyncio: `make client`.

unasync replaces words, token by token: `await` and `async` go, and each name below becomes its twin, which
`freshet.runtimes` defines. ruff sorts the imports and formats what comes out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from unasync import Rule, unasync_files

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "services" / "client" / "freshet"
WRITTEN_FROM = {"client.py": "async_client.py", "recorder.py": "async_recorder.py"}
TWINS = {  # beside unasync's own, such as AsyncIterator and __aenter__
    "AsyncClient": "Client",
    "AsyncCondition": "Condition",
    "AsyncRecorder": "Recorder",
    "AsyncSend": "Send",
    "AsyncWorker": "Worker",
    "async_channel": "channel",
    "async_recorder": "recorder",
    "async_sleep": "sleep",
}


def sync_modules() -> dict[str, str]:
    """The text of each module that is written from another, by its file's name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unasync_files([str(CLIENT / source) for source in WRITTEN_FROM.values()], [Rule(str(CLIENT), name, TWINS)])
        return {target: _finished(target, (folder / source).read_text()) for target, source in WRITTEN_FROM.items()}


def _finished(target: str, code: str) -> str:
    """With its head, and as ruff wants it."""
    text = f"# Written by `make client` from {WRITTEN_FROM[target]}: change that one.\n{code}"
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        text = subprocess.run(
            [Path(sys.executable).with_name("ruff"), *command, "--stdin-filename", CLIENT / target, "-"],
            cwd=ROOT, input=text, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    return text


if __name__ == "__main__":
    for target, text in sync_modules().items():
        (CLIENT / target).write_text(text)
