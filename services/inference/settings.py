"""The settings of inference."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.process.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """How recommendations are answered."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_INFERENCE_", frozen=True)

    grpc_host: str = Field("127.0.0.1", description="address that gRPC listens on")
    grpc_port: int = Field(50051, ge=0, le=65535, description="port of gRPC; 0: any free one, logged at start")
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that answer on the one port; process n shows its metrics on metrics_port + n",
    )
    share_port: bool = Field(
        default=False, description="share the port with other processes; set automatically where processes > 1"
    )
    maximum_concurrent_rpcs: int = Field(
        1000, ge=1, description="calls in flight at most; more are refused with RESOURCE_EXHAUSTED"
    )
    calls_per_connection: int = Field(
        100,
        ge=4,
        description="calls at a time on one connection: its client holds back what exceeds them, or gRPC refuses it "
        "unread; at most half of them may wait for after_position or for the broker",
    )
    unread_calls: int = Field(
        64,
        ge=1,
        description="calls that may wait inside gRPC until they are read; what exceeds them it refuses with CANCELLED, "
        "which costs next to nothing",
    )
    longest_queue_ms: float = Field(
        4.0,
        gt=0,
        description="a call that would wait longer for its turn to be computed is refused with RESOURCE_EXHAUSTED, ms",
    )
    most_request_bytes: int = Field(16 * 2**20, ge=1024, description="largest request accepted, bytes")
    wait_seconds: float = Field(
        30.0, gt=0, description="longest wait for after_position when a call has no deadline, seconds"
    )
    record_seconds: float = Field(
        10.0, gt=0, description="longest wait for the broker's acknowledgement when a call has no deadline, seconds"
    )
    drain_seconds: float = Field(10.0, ge=0, description="time that calls in flight get at shutdown, seconds")

    state_dir: Path | None = Field(
        None, description="folder of the snapshots that a start resumes from; none: it reads the whole log"
    )
    snapshot_events: int = Field(50_000, ge=1, description="states applied between two snapshots")
    explore: bool = Field(
        default=False, description="place products at random in learned answers, as often as the version's epsilon says"
    )
    seed: int | None = Field(None, ge=0, description="seed of exploration's draws; none: from the operating system")

    @property
    def serves_metrics(self) -> bool:
        """Not where several processes do, each its own."""
        return self.processes == 1

    @model_validator(mode="after")
    def _has_ports(self) -> Self:
        if self.processes > 1 and not 0 < self.metrics_port <= 65536 - self.processes:
            raise ValueError(
                f"FRESHET_INFERENCE_PROCESSES={self.processes} needs FRESHET_INFERENCE_METRICS_PORT, up to "
                f"{65536 - self.processes}: process n shows its metrics on that port + n"
            )
        return self

    @field_validator("state_dir", mode="before")
    @classmethod
    def _is_named(cls, value: object) -> object:
        return value or None  # an empty variable means none, not the working folder
