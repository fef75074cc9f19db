"""Which version serves: what `freshet.models` announces and pins, and the first of it that can be used. Pure.

Inference, the evaluator, the trainer's retention and `freshet models` all use this, so that they agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError

from shared.log.records import END_MS
from shared.pb.freshet.v1.events_pb2 import ModelVersion, Pointer
from shared.process.errors import BadEvent

SERVING_POINTER = "live/serving"

# A version's id names its folder: it must not lead anywhere else.
_VERSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


Loaded = TypeVar("Loaded")


class PublishedVersions:
    """The versions that exist, the one that is wanted, and the one that is in use.

    Attributes:
        in_use: the version that `choose` chose last, None before any.
        held_back: wanted versions that could not be used yet when `choose` was called last.
    """

    def __init__(self) -> None:
        self.in_use: ModelVersion | None = None
        self.held_back = 0
        self._versions: dict[str, ModelVersion] = {}  # in the order of their last announcement
        self._pointers: dict[str, str] = {}  # live/<name> → version_id
        self._rejected: set[tuple[str, str]] = set()  # identities of those that can never be used
        self._missed: set[tuple[str, str]] = set()  # of those whose folder was not there when they were wanted most

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Apply one record.

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
        """The version that must be served; empty: the newest."""
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

    def choose(
        self,
        load: Callable[[ModelVersion], Loaded],
        on_reject: Callable[[ModelVersion, BadEvent], object],
        *,
        may_use: Callable[[ModelVersion], bool] = lambda _: True,
    ) -> Loaded | None:
        """Load the first wanted version that can be used; None where the one in use goes on, or none can.

        A version that can't be loaded is rejected once and never tried again, unless its folder is missing: that may
        still appear, on a shared file system say.

        Args:
            load: reads a version; raises BadEvent where it can't be trusted or is missing.
            on_reject: is called for each version that is rejected or, where there is nothing newer, missing.
            may_use: whether a version may be used now; the others are held back, and wanted again next time.
        """
        self.held_back = 0
        is_first = True
        for version in self.wanted():
            if self._is_settled_by(version):
                return None
            if not may_use(version):
                self.held_back += 1
                continue
            identity = identity_of(version)
            if identity not in self._rejected:
                try:
                    loaded = load(version)
                except BadEvent as error:
                    if self._is_news(identity, error, is_first=is_first):
                        on_reject(version, error)
                else:
                    self.in_use = version
                    return loaded
            is_first = False
        return None

    def _is_settled_by(self, version: ModelVersion) -> bool:
        """Whether to look no further.

        The version is in use, or older than the one that is, which goes on until newer ones are no longer held back.
        """
        if self.in_use is None:
            return False
        if identity_of(version) == identity_of(self.in_use):
            return True
        return self.held_back > 0 and not self.pinned and version.created_ms < self.in_use.created_ms

    def _is_news(self, identity: tuple[str, str], error: BadEvent, *, is_first: bool) -> bool:
        if error.reason != "missing":
            self._rejected.add(identity)
            return True
        if not is_first or identity in self._missed:  # older ones may be retained away
            return False
        self._missed.add(identity)
        return True


def identity_of(version: ModelVersion) -> tuple[str, str]:
    """What distinguishes a version from every other: its id and its manifest's hash."""
    return version.version_id, version.manifest_sha256
