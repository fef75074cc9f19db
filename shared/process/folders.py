"""Folders that a service writes: tried at the start, written whole or not at all, each file checked when it is read."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.process.errors import Unusable

log = logging.getLogger("folders")

PROBE = ".probe"

# Python's files and hashes let other threads run while they work on a piece, and between two pieces.
PIECE_BYTES = 4 * 2**20
DTYPES = {"float32": "F32", "float64": "F64", "int16": "I16", "int32": "I32", "int64": "I64", "uint8": "U8"}


def prepare(folder: Path, setting: str) -> None:
    """Make a folder and try to write there; a full disk is only logged.

    Args:
        setting: the variable that names the folder.

    Raises:
        Unusable: it can't be written.
    """
    probe = folder / PROBE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise Unusable(
                f"can't write in {folder}: {error.strerror or error}; let this user write there, or choose another "
                f"folder by {setting}"
            ) from error
        log.error("can't write in %s: %s", folder, what_is_wrong(error))  # noqa: TRY400  # the disk's answer says all


def what_is_wrong(error: OSError) -> str:
    """What the system says is wrong, and what to do where the disk is full."""
    words = error.strerror or str(error)
    return f"{words}; free some space" if error.errno == errno.ENOSPC else words


@dataclass(frozen=True, slots=True)
class Digest:
    """What a manifest says of a file."""

    sha256: str  # in hexadecimal
    size_bytes: int | None = None  # None: the manifest does not say


@contextmanager
def whole_folder(folder: Path, durable: Collection[str] = ()) -> Iterator[Path]:
    """A place to write files; as the block ends they appear as `folder`, all at once, even across a power cut.

    Where the block raises, nothing half written stays behind.

    Args:
        durable: names of files in it whose content was made durable before.

    Raises:
        OSError: the disk is full, say.
    """
    root = folder.parent
    temporary = root / f".{folder.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            if file.name in durable:
                continue
            with file.open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(root)


def write_folder(
    folder: Path,
    files: Mapping[str, bytes | Iterable[bytes | memoryview]],
    manifest: str,
    content_of_manifest: Callable[[Mapping[str, Digest]], bytes],
    shared: Collection[Path] = (),
) -> None:
    """Write files, each at once or piece by piece, and a manifest, into a folder that appears whole or not at all.

    Args:
        manifest: its name.
        content_of_manifest: called with the digest of each file that is written.
        shared: files of other folders on the same disk, whole, durable and never changed, which this one has as well.

    Raises:
        OSError: the disk is full, say, or has no hard links; nothing half written stays behind.
    """
    with whole_folder(folder, [file.name for file in shared]) as place:
        for file in shared:
            (place / file.name).hardlink_to(file)
        digests = {name: _write(place / name, content) for name, content in files.items()}
        _write(place / manifest, content_of_manifest(digests))


def read_folder(folder: Path, manifest: str, digests: Mapping[str, Digest]) -> dict[str, bytes]:
    """Read the files that a manifest names, each checked against its digest.

    Raises:
        ValueError: a file is not what the manifest says.
        OSError: one is missing, or can't be read.
    """
    return {name: _read(folder / name, manifest, digest) for name, digest in digests.items()}


def _write(file: Path, content: bytes | Iterable[bytes | memoryview]) -> Digest:
    sha256, size = hashlib.sha256(), 0
    with file.open("wb") as sink:
        for piece in [content] if isinstance(content, bytes) else content:
            size += sink.write(piece)
            sha256.update(piece)
    return Digest(sha256.hexdigest(), size)


def _read(file: Path, manifest: str, digest: Digest) -> bytes:
    if digest.size_bytes not in (None, file.stat().st_size):  # before any of it is in memory
        raise ValueError(f"{file.name} has not the size that {manifest} says")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest.sha256:
        raise ValueError(f"{file.name} is not what {manifest} says")
    return content


def write_file(file: Path, content: bytes) -> None:
    """Write a file that appears whole, in the place of an earlier one, even across a power cut.

    Raises:
        OSError: the disk is full, say; the earlier file stays.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    temporary.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's own entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pieces(arrays: Mapping[str, NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """The content of a safetensors file that holds the arrays, piece by piece; `safetensors.numpy.load` reads it.

    No second copy lies in memory, and other threads run meanwhile. The format:
    https://github.com/huggingface/safetensors#format

    Raises:
        KeyError: an array is of a type that is not in `DTYPES`.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for array in arrays.values():
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]
