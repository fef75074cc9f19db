"""Settings from the environment: one frozen class per service, unknown names refused, `--help` made from the fields."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, FilePath, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.process.errors import Unusable

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

# Variables that several services had each for itself, and the one that they all read now.
RENAMED = {
    f"FRESHET_{service}_{name}": f"FRESHET_SHOP_{name}"
    for service in ("TRAINER", "INFERENCE", "EVALUATOR")
    for name in (
        "HISTORY_LENGTH", "SESSION_GAP_DAYS", "MASKED_KINDS", "TRENDING_HALF_LIFE_DAYS", "PLACE_NEW_PRODUCTS",
        "MODELS_DIR",
    )
}  # fmt: skip


class KafkaSettings(BaseSettings):
    """How every service reaches Kafka. Topic names are fixed; the prefix lets several installations share a cluster."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_KAFKA_", frozen=True)

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1, description="brokers, as host:port,host:port")
    topic_prefix: str = Field("freshet", description="what topic names begin with", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    partitions: int = Field(6, ge=1, le=1000, description="partitions of each topic keyed by user; fixed once created")
    replication_factor: int = Field(1, ge=1, le=9, description="copies of each partition")
    retention_hours: float = Field(720.0, gt=0, description="how long events and states are kept, hours")
    dead_letter_retention_hours: float = Field(8760.0, gt=0, description="how long dead letters are kept, hours")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="with SASL only")
    sasl_username: str = Field("", description="with SASL only")
    sasl_password_file: FilePath | None = Field(None, description="file that holds the password, with SASL only")
    ssl_ca_file: FilePath | None = Field(None, description="certificates to trust, PEM; default: the system's")

    @model_validator(mode="after")
    def _logs_in_where_it_must(self) -> Self:
        if self.uses_sasl and not (self.sasl_username and self.sasl_password_file):
            raise ValueError(
                f"FRESHET_KAFKA_SECURITY_PROTOCOL={self.security_protocol} needs FRESHET_KAFKA_SASL_USERNAME and "
                "FRESHET_KAFKA_SASL_PASSWORD_FILE"
            )
        return self

    @property
    def uses_sasl(self) -> bool:
        """Whether clients log in."""
        return self.security_protocol.startswith("SASL")

    def read_password(self) -> str:
        """What the password file holds, without the space around it.

        Raises:
            Unusable: it can't be read.
        """
        if self.sasl_password_file is None:
            return ""
        try:
            return self.sasl_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"FRESHET_KAFKA_SASL_PASSWORD_FILE={self.sasl_password_file}: {error}") from None


class ServiceSettings(BaseSettings):
    """What every service has beside its own settings. Subclasses set the prefix `FRESHET_<SERVICE>_`."""

    model_config = SettingsConfigDict(frozen=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level logged")
    log_format: Literal["text", "json"] = Field("text", description="text for people, json for machines")
    metrics_host: str = Field("127.0.0.1", description="address that /metrics listens on")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of /metrics; 0: any free one, logged at start")

    @property
    def serves_metrics(self) -> bool:
        """Whether the process that reads these settings shows metrics itself."""
        return True


ServiceSettingsT = TypeVar("ServiceSettingsT", bound=ServiceSettings)


def prefix_of(settings: type[BaseSettings]) -> str:
    """The prefix of a settings class's variables, such as `FRESHET_TRAINER_`."""
    return str(settings.model_config.get("env_prefix", ""))


def names_of(settings: type[BaseSettings]) -> list[str]:
    """The variables a settings class reads, in the order of its fields."""
    return [f"{prefix_of(settings)}{name}".upper() for name in settings.model_fields]


def refuse_unknown(classes: Iterable[type[BaseSettings]], environ: Mapping[str, str]) -> None:
    """Refuse variables under the classes' own prefixes that none of them knows, and any that has another name now.

    Raises:
        Unusable: names the first such variable, and its new name or the known one that it is nearest to.
    """
    refuse_renamed(environ)
    classes = list(classes)
    known = {name for cls in classes for name in names_of(cls)}
    for name in sorted(environ):
        prefix = next((prefix_of(cls) for cls in classes if name.upper().startswith(prefix_of(cls))), None)
        if prefix is None or name.upper() in known:
            continue
        siblings = [sibling.removeprefix(prefix) for sibling in known if sibling.startswith(prefix)]
        near = difflib.get_close_matches(name.upper().removeprefix(prefix), siblings, n=1)
        hint = f"; did you mean {prefix}{near[0]}?" if near else "; --help lists the settings"
        raise Unusable(f"unknown setting {name}{hint}")


def refuse_renamed(environ: Mapping[str, str]) -> None:
    """Refuse variables that have another name now, whichever service they were for.

    Raises:
        Unusable: names the first one and its new name.
    """
    for name in sorted(environ):
        if name.upper() in RENAMED:
            raise Unusable(f"{name} is now {RENAMED[name.upper()]}, which all services read: rename it")


def load(settings: type[SettingsT], environ: Mapping[str, str] | None = None) -> SettingsT:
    """Read one settings class from the environment.

    Raises:
        Unusable: a variable is unknown or its value is wrong; the message names it.
    """
    refuse_unknown([settings], os.environ if environ is None else environ)
    try:
        if environ is None:
            return settings()
        values = {key.upper(): value for key, value in environ.items()}
        # Defaults are given too: what is left out would be taken from the process's own environment.
        return settings.model_validate(
            {
                field: values.get(name, info.default)
                for name, (field, info) in zip(names_of(settings), settings.model_fields.items(), strict=True)
            }
        )
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            reason = detail["msg"].removeprefix("Value error, ")
            name = f"{prefix_of(settings)}{'.'.join(str(part) for part in detail['loc']).upper()}"
            lines.append(f"{name}={detail.get('input')!r}: {reason}" if detail["loc"] else reason)
        raise Unusable("wrong setting: " + "; ".join(lines)) from None


def describe(*classes: type[BaseSettings]) -> str:
    """The settings as a table for `--help`: variable, default, meaning."""
    lines = ["settings (environment variables):"]
    for cls in classes:
        for name, (field, info) in zip(names_of(cls), cls.model_fields.items(), strict=True):
            default = _shown(info.default)
            lines.append(f"  {name}")
            lines.append(f"      {info.description or field} (default: {default})")
    return "\n".join(lines)


def _shown(default: Any) -> str:
    if default is None or default == "":
        return "none"
    return str(default)
