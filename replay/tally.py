"""Rows of numbers kept on the disk, and counted there in bounded memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from shared.errors import Unusable

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE_ROWS = 100_000  # from which quantiles are taken
_BATCH_ROWS = 10_000


class Tally:
    """Rows of numbers in a database on the disk, for the length of a block.

    Args:
        memory_mb: the most that the database holds in memory.
        types: name and SQL type of each number of a row, with commas.
    """

    def __init__(self, memory_mb: int, types: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="freshet-inspect-")
        config: dict[str, Any] = {
            "memory_limit": f"{memory_mb}MiB",
            "threads": 1,
            "temp_directory": str(Path(self._folder.name) / "spill"),
        }
        self._database = duckdb.connect(str(Path(self._folder.name) / "tally.duckdb"), config=config)
        self._database.execute(f"CREATE TABLE seen ({types})")
        self._rows: list[tuple[float, ...]] = []

    def __enter__(self) -> Tally:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._folder.cleanup()

    def add(self, row: tuple[float, ...]) -> None:
        """Take a row.

        Raises:
            Unusable: the disk has no room for it.
        """
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def without_copies(self) -> int:
        """Make the table `once` of the rows, each kept once; how many it has.

        Raises:
            Unusable: the disk has no room for the last rows taken.
        """
        self._flush()
        self._database.execute("CREATE TABLE once AS SELECT DISTINCT * FROM seen; DROP TABLE seen")
        (count,) = self.one("SELECT count(*) FROM once")
        return int(count)

    def one(self, query: str) -> tuple[Any, ...]:
        """The one row of a query."""
        (row,) = self.all(query)
        return row

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._database.execute(query).fetchall()

    def sample(self) -> pd.DataFrame:
        """So many rows, at random, always the same."""
        return self._database.execute(
            f"SELECT * FROM once USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (7)"  # noqa: S608  # a number
        ).df()

    def _flush(self) -> None:
        if not self._rows:
            return
        batch = {str(place): np.array(values) for place, values in enumerate(zip(*self._rows, strict=True))}
        self._database.register("batch", batch)
        try:
            self._database.execute("INSERT INTO seen SELECT * FROM batch")
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise Unusable(
                f"what was read can't be kept in {self._folder.name}: {str(error).splitlines()[0]}. Name a folder "
                "with more room with TMPDIR"
            ) from error
        self._database.unregister("batch")
        self._rows.clear()
