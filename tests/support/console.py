"""`freshet` as a person calls it, in this process or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from services.console.__main__ import parse
from shared.process.errors import Unusable
from shared.process.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Done:
    """How a call ended."""

    returncode: int
    stdout: str
    stderr: str


def freshet(folder: Path, *words: str, **environ: str) -> Done:
    """The command in this process, in a folder: nothing has to be imported again."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), patch.object(sys, "argv", ["freshet", *words]), redirect_stderr(err), redirect_stdout(out):
        try:
            arguments = parse(words)
            code = arguments.run(arguments, Terminal(out), environ)
        except Unusable as error:
            return Done(2, out.getvalue(), f"freshet: {error}")
        except SystemExit as ended:
            return Done(int(ended.code or 0), out.getvalue(), err.getvalue())
    return Done(code, out.getvalue(), err.getvalue())


def in_a_process_of_its_own(folder: Path, *words: str) -> Done:
    """The same in a new process, with no setting of the machine's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    done = subprocess.run(
        [sys.executable, "-m", "services.console", *words],
        cwd=folder, env=clean | {"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)
