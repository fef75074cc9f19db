"""The settings of replay."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.process.settings import ServiceSettings


class ReplaySettings(ServiceSettings):
    """How a dataset is put in order and sent."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_REPLAY_", frozen=True)

    state_dir: Path = Field(
        Path(".freshet/replay"), description="folder of the ordered copies and of the position of each dataset"
    )
    tick_events: int = Field(200, ge=1, description="events between two ticks, at most")
    tick_seconds: float = Field(
        1.0, gt=0, description="time between two ticks at the requested pace, at most; not with --speed max, seconds"
    )
    queue_messages: int = Field(20_000, ge=1, description="messages waiting for the broker's acknowledgement, at most")
    save_seconds: float = Field(1.0, gt=0, description="time between two saves of the position, seconds")
    drain_seconds: float = Field(
        10.0, ge=0, description="time that messages in flight get when the replay is stopped, seconds"
    )
    progress_seconds: float = Field(5.0, gt=0, description="time between two lines of progress in the log, seconds")
    ordering_memory_mb: int = Field(512, ge=64, description="memory for ordering a dataset; the rest goes to disk, MiB")
    most_line_bytes: int = Field(
        1_000_000, ge=1024, description="longer lines are left out; Kafka accepts 1 MiB by default, bytes"
    )
    most_rejected_lines: int = Field(
        100_000, ge=1, description="rejected lines that rejected.tsv names, at most; all are counted"
    )
