"""The records of finefoods.txt and movies.txt: blocks of `name: value` lines, with a blank line between them.

SNAP's own files are UTF-8 here and Latin-1 there: a block that isn't UTF-8 is read as Latin-1, which any bytes are.
A value may go on in lines that begin with no field's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from replay.datasets import too_long
from replay.records import Record
from shared.errors import BadEvent

FIRST = b"product/productId:"  # a block begins here, also where the blank line before it is missing
FIELD = re.compile(rb"(?:product|review)/[A-Za-z]+:")

Block = tuple[int, bytes, bytes | BadEvent]


def blocks(lines: Iterable[tuple[int, bytes | None]], most_bytes: int) -> Iterator[Block]:
    """Each block: the line it begins at and its bytes, twice.

    Args:
        lines: each with its number; None where it is too long.
        most_bytes: what a block may have, over all of its lines.
    """
    block: list[bytes] = []
    first = size = 0
    is_too_long = False

    def whole() -> Iterator[Block]:
        nonlocal size, is_too_long
        if is_too_long:
            yield first, b"", too_long()
        elif block:
            content = b"\n".join(block)
            yield first, content, content
        block.clear()
        size, is_too_long = 0, False

    for n, line in lines:
        if line is not None and (not line or line.isspace()):
            yield from whole()
            continue
        if line is not None and line.startswith(FIRST):
            yield from whole()
        if not block and not is_too_long:
            first = n
        size += 0 if line is None else len(line) + 1
        if line is None or size > most_bytes:
            is_too_long = True
            block.clear()
        elif not is_too_long:
            block.append(line)
    yield from whole()


def parse_block(content: bytes) -> Record:
    """The fields of a block.

    Raises:
        BadEvent: nul_bytes or bad_block.
    """
    if b"\x00" in content:
        raise BadEvent("nul_bytes", "holds NUL bytes: a copy that went wrong, or UTF-16")
    record: Record = {}
    name = ""
    for line in content.split(b"\n"):
        text = _text(line)
        if FIELD.match(line):
            name, _, value = text.partition(":")
            record[name] = value.strip()
        elif name:
            record[name] += f"\n{text}"
        else:
            raise BadEvent("bad_block", f"begins with no field such as product/productId: {ascii(text)[:80]}")
    return record


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
