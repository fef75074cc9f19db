"""The settings of the gateway."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.process.settings import ServiceSettings


class GatewaySettings(ServiceSettings):
    """How HTTP is answered."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_GATEWAY_", frozen=True)

    host: str = Field("127.0.0.1", description="address that HTTP listens on")
    port: int = Field(8080, ge=0, le=65535, description="port of HTTP; 0: any free one, logged at start")
    recommender: str = Field("127.0.0.1:50051", min_length=1, description="inference's gRPC, as host:port")
    connections: int = Field(
        4, ge=1, le=64, description="connections to the recommender; the kernel spreads them over its processes"
    )
    calls_per_connection: int = Field(
        100, ge=1, description="calls at a time on each of them; what exceeds them is refused with 429"
    )
    evaluator_metrics: str = Field(
        "", description="the evaluator's metrics, as http://host:port/metrics; without it /v1/live has no figures"
    )
    allowed_hosts: str = Field(
        "localhost,127.0.0.1,[::1]",
        description="host names by which it may be called, separated by commas; *: any, where a proxy checks them",
    )
    allowed_origins: str = Field(
        "",
        description="other sites whose pages may call, as https://shop.example, separated by commas; none: CORS is off",
    )
    timeout_seconds: float = Field(
        30.0, gt=0, description="longest time for an answer where the header Request-Timeout is absent, seconds"
    )
    most_timeout_seconds: float = Field(
        600.0, gt=0, description="longest Request-Timeout, and longest time of a stream, seconds"
    )
    most_request_bytes: int = Field(16 * 2**20, ge=1024, description="largest body accepted, bytes")
    drain_seconds: float = Field(10.0, ge=0, description="time that calls in flight get at shutdown, seconds")

    @property
    def hosts(self) -> frozenset[str]:
        """`allowed_hosts`, in lower case."""
        return frozenset(_split(self.allowed_hosts))

    @property
    def origins(self) -> frozenset[str]:
        """`allowed_origins`, in lower case."""
        return frozenset(_split(self.allowed_origins))

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in _split(value):
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ValueError(f"{origin!r} is no origin: a scheme, a host and maybe a port, as https://shop.example")
        return value

    @field_validator("evaluator_metrics")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc):
            raise ValueError("must be a URL, as http://127.0.0.1:9464/metrics")
        return value


def _split(value: str) -> list[str]:
    return [part.strip().lower() for part in value.split(",") if part.strip()]
