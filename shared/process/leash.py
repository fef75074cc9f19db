"""Runs a command that the kernel ends with its parent, even on kill -9. Linux only; elsewhere it just runs.

    python -I -S leash.py <pid of the parent> <program> <argument>…

It is a program of its own because code between fork and exec in a process with threads can hang.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` on a leash held by the calling thread, which must outlive it."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the leash was on
        sys.exit(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and what is ignored stays so in the command
    os.execv(command[0], command)  # noqa: S606  # the supervisor chose it


if __name__ == "__main__":
    main()
