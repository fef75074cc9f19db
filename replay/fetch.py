"""A published file, fetched once, and held to its SHA-256 from then on.

The hash is recorded beside the file when it first comes, in `NAME.sha256`, as `sha256sum -c` reads it. A file that is
there already is checked against it and not fetched again; one that comes again and is another is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from replay.download import PATIENT, Look, Patience, download, remembered_file
from replay.lines import sha256_of
from shared.errors import Unusable
from shared.folders import sync_folder

_RECORD = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is here, whole.

    Attributes:
        was_here: nothing was fetched.
        was_known: its hash had been recorded before, and is the same.
    """

    file: Path
    sha256: str
    size: int
    was_here: bool
    was_known: bool


def fetch(
    url: str, folder: Path, *, saved: str = "", again: bool = False, accept_change: bool = False,
    look: Look = lambda *_: None, say: Callable[[str], None] = lambda _: None, patience: Patience = PATIENT,
) -> Fetched:  # fmt: skip
    """Have the file of an address in a folder.

    Args:
        saved: what it is called there; default: as the address has it.
        again: fetch it also where it is there already.
        accept_change: take another file than the one whose hash was recorded.
        look: hears how far it is.
        say: hears what people should know.

    Raises:
        Unusable: the address, the disk or the file is of no use, or it is another than before.
        Unavailable: the server can't be reached.
    """
    file = folder / (saved or name_in(url))
    part = file.with_name(f"{file.name}.part")
    recorded = recorded_sha256(file)
    if file.exists() and not again:
        return _checked(file, recorded, accept_change=accept_change)
    download(url, part, look=look, say=say, patience=patience)
    if not part.stat().st_size:
        raise Unusable(f"{url} is an empty file; see the publisher's page for the address of today")
    sha256 = sha256_of(part, lambda: None)
    if recorded not in (None, sha256) and not accept_change:
        raise Unusable(
            f"{file.name} at {urlsplit(url).netloc} is another file than the one first fetched:\n"
            f"  recorded  {recorded}\n  now       {sha256}\n"
            f"The new one lies in {part}. If the publisher has announced a change, take it with --accept-change; "
            f"else compare the two, or delete {part.name}"
        )
    part.rename(file)
    remembered_file(part).unlink(missing_ok=True)
    _record(file, sha256)
    return Fetched(file, sha256, file.stat().st_size, was_here=False, was_known=recorded == sha256)


def name_in(url: str) -> str:
    """What the file of an address is called.

    Raises:
        Unusable: the address ends with no name.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name.startswith(".") or "\x00" in name or "\\" in name:
        raise Unusable(f"{url} names no file; the address of the file itself is needed")
    return name


def record_of(file: Path) -> Path:
    """Where the hash of a file is recorded."""
    return file.with_name(f"{file.name}.sha256")


def recorded_sha256(file: Path) -> str | None:
    """The hash recorded of a file, None where there is none.

    Raises:
        Unusable: there is a record that nobody can read.
    """
    record = record_of(file)
    try:
        found = _RECORD.fullmatch(record.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{record} can't be read ({error}); delete it to have the hash recorded anew") from error
    if found is None or found[2] != file.name:
        raise Unusable(f"{record} holds no hash of {file.name}; delete it to have it recorded anew")
    return found[1]


def _checked(file: Path, recorded: str | None, *, accept_change: bool) -> Fetched:
    """A file that is there already, held to its record; the first time it gets one."""
    sha256 = sha256_of(file, lambda: None)
    if recorded not in (None, sha256) and not accept_change:
        raise Unusable(
            f"{file} is not what was fetched:\n  recorded  {recorded}\n  found     {sha256}\n"
            "It was changed or damaged here: delete it and fetch it again, or keep it as it is with --accept-change"
        )
    if recorded != sha256:
        _record(file, sha256)
    return Fetched(file, sha256, file.stat().st_size, was_here=True, was_known=recorded == sha256)


def _record(file: Path, sha256: str) -> None:
    record = record_of(file)
    unfinished = record.with_name(f"{record.name}.tmp")
    with unfinished.open("w", encoding="utf-8") as sink:
        sink.write(f"{sha256}  {file.name}\n")
        sink.flush()
        os.fsync(sink.fileno())
    unfinished.replace(record)
    sync_folder(file.parent)
