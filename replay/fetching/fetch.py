"""Fetches a published file once, whole or not at all, and holds it to its SHA-256 from then on.

`fetch` records the hash beside the file when it first comes, in `NAME.sha256`, as `sha256sum -c` reads it. A file that
is here is checked against it and not fetched again; a file that comes again with other content is refused.

`download` keeps what has come in `NAME.part`, with what the server said of it in `NAME.part.json`. A cut connection
goes on with a range, which the server grants only while its file is the same (If-Range). Bytes are kept as they come: a
server that calls a .gz file's content encoding gzip gets it stored as the .gz file it is. Redirects from https to http
are refused.

pooch 1.9.0 was tried on the same bad servers: it can't resume, so a cut starts at byte 0 again, and it stores the
unpacked content of a .gz file that is sent with a content encoding. It also accepts a web page or an empty file, and
nothing in it keeps a redirect from leaving TLS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError

from replay.reading.lines import sha256_of
from shared.process.errors import Unavailable, Unusable
from shared.process.folders import write_file

_CHUNK_BYTES = 2**16
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_NONE_OF = re.compile(r"bytes \*/(\d+)")
_SCHEMES = ("http", "https")
_LATER = (408, 425, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RECORD = re.compile(r"([0-9a-f]{64}) [ *](.+)")
Look = Callable[[int, int | None], None]  # bytes that are here, bytes in all


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long a failing server is tried."""

    attempts: int = 6  # in a row, without a new byte
    unreached_attempts: int = 2  # if nobody has answered yet
    backoff_seconds: float = 1.0  # before the second attempt; doubled from one to the next
    most_seconds: float = 60.0  # between two attempts, even if the server asks for more
    connect_seconds: float = 15.0
    read_seconds: float = 60.0  # without a byte


PATIENT = Patience()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is here, whole.

    Attributes:
        was_here: it was here before; nothing was fetched.
        was_known: its hash was recorded before, and is the same.
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
    """Fetch the file of an address into a folder, unless it is there.

    Args:
        saved: its name there; default: as in the address.
        again: fetch it even if it is there.
        accept_change: accept another file than the one whose hash was recorded.
        look: called with the bytes that are here, and in all.
        say: called with what people should know.

    Raises:
        Unusable: the address, the disk or the file is of no use, or the file has changed.
        Unavailable: the server can't be reached.
    """
    file = folder / (saved or name_in(url))
    part = file.with_name(f"{file.name}.part")
    recorded = recorded_sha256(file)
    if file.exists() and not again:
        return _checked(file, recorded, accept_change=accept_change)
    download(url, part, look=look, say=say, patience=patience)
    if not part.stat().st_size:
        raise Unusable(f"{url} is an empty file; see the publisher's page for the current address")
    sha256 = sha256_of(part, lambda: None)
    if recorded not in (None, sha256) and not accept_change:
        raise Unusable(
            f"{file.name} at {urlsplit(url).netloc} is not the file that was first fetched:\n"
            f"  recorded  {recorded}\n  now       {sha256}\n"
            f"The new one is in {part}. If the publisher has announced a change, accept it with --accept-change; "
            f"else compare the two, or delete {part.name}"
        )
    part.rename(file)
    remembered_file(part).unlink(missing_ok=True)
    _record(file, sha256)
    return Fetched(file, sha256, file.stat().st_size, was_here=False, was_known=recorded == sha256)


def name_in(url: str) -> str:
    """The name of the file at an address.

    Raises:
        Unusable: the address ends without a name.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name.startswith(".") or "\x00" in name or "\\" in name:
        raise Unusable(f"{url} names no file; the address of the file itself is needed")
    return name


def _checked(file: Path, recorded: str | None, *, accept_change: bool) -> Fetched:
    """Check a file that is here against its record; without a record, make one."""
    sha256 = sha256_of(file, lambda: None)
    if recorded not in (None, sha256) and not accept_change:
        raise Unusable(
            f"{file} is not what was fetched:\n  recorded  {recorded}\n  found     {sha256}\n"
            "It was changed or damaged here: delete it and fetch it again, or keep it with --accept-change"
        )
    if recorded != sha256:
        _record(file, sha256)
    return Fetched(file, sha256, file.stat().st_size, was_here=True, was_known=recorded == sha256)


def record_of(file: Path) -> Path:
    """Where the hash of a file is recorded."""
    return file.with_name(f"{file.name}.sha256")


def recorded_sha256(file: Path) -> str | None:
    """The recorded hash of a file; None if there is no record.

    Raises:
        Unusable: the record is damaged.
    """
    record = record_of(file)
    try:
        match = _RECORD.fullmatch(record.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{record} can't be read ({error}); delete it to have the hash recorded anew") from error
    if match is None or match[2] != file.name:
        raise Unusable(f"{record} holds no hash of {file.name}; delete it to have it recorded anew")
    return match[1]


def _record(file: Path, sha256: str) -> None:
    write_file(record_of(file), f"{sha256}  {file.name}\n".encode())


def download(
    url: str, part: Path, *, look: Look = lambda *_: None, say: Callable[[str], None] = lambda _: None,
    patience: Patience = PATIENT, sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Download the whole file of an address to `part`, durably.

    Args:
        look: called with the bytes that are here, and in all.
        say: called with every failed attempt, for people.

    Raises:
        Unusable: the address, its answer or the disk is of no use; the message says what to do.
        Unavailable: the server can't be reached, or cuts every connection.
    """
    if urlsplit(url).scheme not in _SCHEMES or not urlsplit(url).hostname:
        raise Unusable(f"{url!r} is no address of the web; it must begin with https:// or http://")
    with _opened(part) as sink, requests.Session() as session:
        failed = anew = 0
        reached = False
        while True:
            before = _size(sink)
            try:
                _attempt(session, url, part, sink, look, patience)
                break
            except _Anew as why:
                anew += 1
                if anew > patience.attempts:
                    raise Unavailable(f"{url}: {why}, again and again; fetch it later, or from elsewhere") from None
                say(f"{why}: beginning anew")
                _forget(part, sink)
            except _Cut as cut:
                failed = 1 if _size(sink) > before else failed + 1
                reached = reached or cut.reached
                if failed >= (patience.attempts if reached else patience.unreached_attempts):
                    raise Unavailable(_gave_up(url, cut, sink)) from None
                wait = min(patience.most_seconds, max(cut.after_seconds, patience.backoff_seconds * 2 ** (failed - 1)))
                say(f"{cut}; trying again in {wait:.0f} s")
                sleep(wait)
        os.fsync(sink.fileno())


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    """The unfinished file, locked for this process."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        sink = part.open("ab")
    except OSError as error:
        raise Unusable(f"can't write to {part.parent} ({error.strerror}); choose another folder with --to") from error
    with sink:
        try:
            fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unusable(f"another process is fetching {part}; wait for it") from None
        yield sink


def _attempt(session: requests.Session, url: str, part: Path, sink: BinaryIO, look: Look, patience: Patience) -> None:
    """Request once what is missing, and write what comes.

    Raises:
        _Cut: the connection or the server failed; what has come is kept.
        _Anew: what has come is of no use.
        Unusable: the answer is no file.
    """
    here = _size(sink)
    known = _remembered(part)
    if known is None or known.url != url or not known.validator:
        here, known = 0, None  # it can't be resumed; it stays until new bytes come
    headers = {"Accept-Encoding": "identity", "User-Agent": "freshet"}
    if here and known is not None:
        headers |= {"Range": f"bytes={here}-", "If-Range": known.validator}
    with _answer(session, url, headers, patience) as response:
        if response.status_code == 416 and here:
            match = _NONE_OF.fullmatch(response.headers.get("Content-Range", ""))
            if match and int(match[1]) == here:
                return  # the file was here completely
            raise _Anew("the server's file has changed")
        _require_success(url, response)
        if response.status_code == 206:
            size: int | None = _granted(response, here, known)
        else:
            sink.truncate(0)
            size = _length(response)
            _remember(part, response, url, size)
        _write(response, sink, size, look)


def _answer(session: requests.Session, url: str, headers: dict[str, str], patience: Patience) -> requests.Response:
    """The server's answer, with its body unread; redirects are followed, but not away from the web or from TLS."""
    try:
        response = session.get(
            url, headers=headers, stream=True, timeout=(patience.connect_seconds, patience.read_seconds)
        )
    except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL, requests.exceptions.MissingSchema):
        raise Unusable(f"{url} leads away from the web; only https:// and http:// are followed") from None
    except requests.exceptions.TooManyRedirects:
        raise Unusable(f"{url} redirects in a circle; see the publisher's page for the current address") from None
    except requests.exceptions.RequestException as error:
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Unusable(
                f"the certificate of {urlsplit(url).hostname} is not valid ({cause.verify_message}); look at its "
                "page in a browser, or fetch from elsewhere with --mirror or --url"
            ) from None
        raise _Cut(f"{urlsplit(url).netloc} can't be reached ({_in_words(cause)})", reached=False) from None
    if leaves_tls([step.url for step in (*response.history, response)]):
        response.close()
        raise Unusable(
            f"{url} redirects to an address without TLS, {response.url}; if you trust it, give it with --url"
        )
    return response


def leaves_tls(urls: Sequence[str]) -> bool:
    """Whether redirects that begin with TLS go on without it."""
    schemes = [urlsplit(url).scheme for url in urls]
    return schemes[0] == "https" and any(scheme != "https" for scheme in schemes)


def _require_success(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in _LATER:
        delay = response.headers.get("Retry-After", "")
        raise _Cut(
            f"{urlsplit(url).netloc} answers {status} {response.reason}",
            after_seconds=float(delay) if delay.isdigit() else 0.0,
        )
    if status not in (200, 206):
        raise Unusable(
            f"{url}: {urlsplit(url).netloc} answers {status} {response.reason}; the file may have moved: look at the "
            "publisher's page and give its address with --url"
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise Unusable(f"{url} answers with a web page, not with a file; open it in a browser to see what it says")


def _granted(response: requests.Response, here: int, known: _Remembered | None) -> int:
    """The size of the whole file, once the answer is known to hold just what is missing.

    Raises:
        _Anew: it does not.
    """
    content_range = response.headers.get("Content-Range", "")
    match = _RANGE.fullmatch(content_range)
    if known is None or match is None or int(match[1]) != here:
        raise _Anew(f"the server answers with another range than requested ({content_range or 'none'})")
    end = int(match[2]) + 1
    size = end if match[3] == "*" else int(match[3])
    tag = response.headers.get("ETag", "")
    is_other = known.validator.startswith('"') and tag not in ("", known.validator)
    if known.size not in (None, size) or end > size or is_other:
        raise _Anew("the server's file has changed")
    return size


def _write(response: requests.Response, sink: BinaryIO, size: int | None, look: Look) -> None:
    here = _size(sink)
    if size is not None and size - here > (free := shutil.disk_usage(Path(sink.name).parent).free):
        raise Unusable(
            f"{Path(sink.name).parent} has {free:,} bytes free, {size - here:,} are still to come: free some disk, or "
            "choose another folder with --to"
        )
    look(here, size)
    try:
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            sink.write(chunk)
            here += len(chunk)
            look(here, size)
        sink.flush()
    except (urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
        raise _Cut(f"the connection was cut after {here:,} bytes ({_in_words(_cause(error))})") from None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Unusable(
            f"the disk is full ({error.strerror}): {Path(sink.name)} keeps the {here:,} bytes that have come; free "
            "some, and run the same command again to go on"
        ) from None
    if size is not None and here < size:
        raise _Cut(f"the connection was cut after {here:,} of {size:,} bytes")
    if size is not None and here > size:
        raise _Anew(f"the server sent more than the {size:,} bytes it announced")


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


class _Remembered(BaseModel):
    """What the server said of the file whose beginning is here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    validator: str  # for If-Range; empty: there is none, so nothing can be resumed
    size: int | None


def remembered_file(part: Path) -> Path:
    """The file that holds what the server said of a part."""
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, response: requests.Response, url: str, size: int | None) -> None:
    tag = response.headers.get("ETag", "")
    validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")  # If-Range takes no weak tag
    known = _Remembered(url=url, validator=validator, size=size)
    remembered_file(part).write_text(known.model_dump_json(), encoding="utf-8")


def _remembered(part: Path) -> _Remembered | None:
    try:
        return _Remembered.model_validate_json(remembered_file(part).read_bytes())
    except (OSError, ValidationError):
        return None


def _forget(part: Path, sink: BinaryIO) -> None:
    sink.truncate(0)
    remembered_file(part).unlink(missing_ok=True)


class _Cut(Exception):
    """The connection or the server failed; what has come is kept."""

    def __init__(self, message: str, *, after_seconds: float = 0.0, reached: bool = True) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds  # what the server asked for
        self.reached = reached  # the server answered


class _Anew(Exception):
    """What has come is of no use: the download begins anew."""


def _gave_up(url: str, cut: _Cut, sink: BinaryIO) -> str:
    kept = _size(sink)
    rest = f"; {kept:,} bytes are kept: run the same command again to go on from there" if kept else ""
    return f"{url} can't be fetched: {cut}. Is this machine online?{rest}"


def _size(sink: BinaryIO) -> int:
    with contextlib.suppress(OSError):  # of a full disk: told where it was written
        sink.flush()
    return os.fstat(sink.fileno()).st_size


def _cause(error: BaseException) -> BaseException:
    """The root cause of an error of requests."""
    while True:
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner


def _in_words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)[:120]
