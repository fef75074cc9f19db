"""What `freshet.models` says: the versions in the order they were announced, and the pointer that pins one. Pure."""

from __future__ import annotations

import re

from google.protobuf.message import DecodeError

from shared.errors import BadEvent
from shared.events import END_MS
from shared.pb.freshet.v1.events_pb2 import ModelVersion, Pointer

SERVING_POINTER = "live/serving"

# A version's id names its folder: it must not lead anywhere else.
_VERSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Published:
    """The versions that exist and the one that is wanted."""

    def __init__(self) -> None:
        self._versions: dict[str, ModelVersion] = {}  # in the order of their last announcement
        self._pointers: dict[str, str] = {}  # live/<name> → version_id

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take up one record.

        Raises:
            BadEvent: it is neither a version nor a pointer.
        """
        kind, _, name = (key or b"").decode(errors="replace").partition("/")
        try:
            if kind == "version":
                self._announce(name, value)
            elif kind == "live":
                self._pointers[f"{kind}/{name}"] = Pointer.FromString(value).version_id if value else ""
            else:
                raise BadEvent("undecodable", f"key {key!r} is neither version/<id> nor live/<name>")
        except DecodeError as error:
            raise BadEvent("undecodable", f"{kind}/{name}: {error}") from error

    def _announce(self, version_id: str, value: bytes | None) -> None:
        if not value:
            self._versions.pop(version_id, None)
            return
        version = ModelVersion.FromString(value)
        if version.version_id != version_id or not _VERSION_ID.fullmatch(version_id):
            raise BadEvent("undecodable", f"key version/{version_id!r} announces {version.version_id!r}")
        if not 0 <= version.created_ms < END_MS:
            raise BadEvent("undecodable", f"version/{version_id}: created_ms {version.created_ms} is no time")
        self._versions.pop(version_id, None)
        self._versions[version_id] = version

    @property
    def pinned(self) -> str:
        """The version that is to be served; empty: the newest."""
        return self._pointers.get(SERVING_POINTER, "")

    @property
    def pointed_at(self) -> frozenset[str]:
        """Every version that a pointer of any name names, so that it must stay."""
        return frozenset(self._pointers.values()) - {""}

    def newest_first(self) -> tuple[ModelVersion, ...]:
        """Every version, newest first."""
        return tuple(reversed(self._versions.values()))

    def wanted(self) -> tuple[ModelVersion, ...]:
        """What should be served, then what else would do: the pinned version alone, or all from the newest on."""
        if not self.pinned:
            return self.newest_first()
        version = self._versions.get(self.pinned)
        return (version,) if version is not None else ()


def identity_of(version: ModelVersion) -> tuple[str, str]:
    """What tells a version from every other: its id and its manifest's hash."""
    return version.version_id, version.manifest_sha256
