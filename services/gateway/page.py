"""The page: the files of the folder `page`, and no others."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "page"


def routes(folder: Path = FOLDER) -> Iterator[web.RouteDef]:
    """A path for each file that lies there now; a page of HTML has none of its ending, and `/` is index.html."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not file.is_symlink() and not any(part.startswith(".") for part in name.split("/")):
            yield web.get("/" if name == "index.html" else f"/{name.removesuffix('.html')}", _shown(file))


def _shown(file: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    kind, _ = mimetypes.guess_type(file.name)
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind and kind.startswith("text/") else kind or "text/plain",
        "Cache-Control": "no-cache",  # it has an ETag: asking again is cheap
    }

    async def show(request: web.Request) -> web.FileResponse:  # noqa: ARG001
        return web.FileResponse(file, headers=headers)

    return show
