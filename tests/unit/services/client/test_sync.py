"""The client for threads is written from the one for asyncio."""

from __future__ import annotations

import ast

import pytest

from tests.support.sync_client import CLIENT, WRITTEN_FROM, sync_modules


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return sync_modules()


@pytest.mark.parametrize("target", sorted(WRITTEN_FROM))
def test_what_is_committed_is_what_is_written(target: str, written: dict[str, str]) -> None:
    assert written[target] == (CLIENT / target).read_text(), f"{target} is not what `make client` writes"
    assert written[target].startswith(f"# Written by `make client` from {WRITTEN_FROM[target]}")


@pytest.mark.parametrize("target", sorted(WRITTEN_FROM))
def test_nothing_of_asyncio_is_left_in_it(target: str, written: dict[str, str]) -> None:
    tree = ast.parse(written[target])
    asynchronous = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(tree) if isinstance(node, asynchronous)]
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.name for alias in node.names} | {getattr(node, "module", "")}
    assert not [name for name in names if "async" in name.lower() or name.startswith(("aio", "Sync"))]
