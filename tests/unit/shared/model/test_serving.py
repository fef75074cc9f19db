"""Which version serves: what is announced and pinned, and the first of it that can be used."""

from __future__ import annotations

import pytest

from shared.model.serving import SERVING_POINTER, PublishedVersions
from shared.pb.freshet.v1.events_pb2 import ModelVersion, Pointer
from shared.process.errors import BadEvent


def version(name: str, created_ms: int = 1) -> ModelVersion:
    return ModelVersion(version_id=name, manifest_sha256=f"hash of {name}", created_ms=created_ms)


def published(*names: str) -> PublishedVersions:
    versions = PublishedVersions()
    for created_ms, name in enumerate(names, start=1):
        versions.apply(f"version/{name}".encode(), version(name, created_ms).SerializeToString())
    return versions


def point(versions: PublishedVersions, name: str, pointer: str = SERVING_POINTER) -> None:
    versions.apply(pointer.encode(), Pointer(version_id=name).SerializeToString() if name else None)


class Shelf:
    """What can be loaded; notes what was tried and what was rejected."""

    def __init__(self, **bad: str) -> None:
        self.bad = bad  # name → why it can't be loaded
        self.tried: list[str] = []
        self.rejected: list[tuple[str, str]] = []

    def choose(self, versions: PublishedVersions, *, held_back: tuple[str, ...] = ()) -> str | None:
        """What is newly in use."""
        return versions.choose(
            self._load,
            lambda version, error: self.rejected.append((version.version_id, error.reason)),
            may_use=lambda version: version.version_id not in held_back,
        )

    def _load(self, version: ModelVersion) -> str:
        self.tried.append(version.version_id)
        if version.version_id in self.bad:
            raise BadEvent(self.bad[version.version_id], "bad")
        return version.version_id


def test_versions_stand_in_the_order_of_their_last_announcement() -> None:
    versions = published("a", "b", "c")
    versions.apply(b"version/a", version("a", 9).SerializeToString())
    versions.apply(b"version/b", None)
    assert [v.version_id for v in versions.newest_first()] == ["a", "c"]


def test_every_pointer_is_known_and_one_of_them_pins_what_serves() -> None:
    versions = published("a", "b", "c")
    point(versions, "a")
    point(versions, "b", "live/canary")
    assert (versions.pinned, versions.pointed_at) == ("a", {"a", "b"})
    assert [v.version_id for v in versions.wanted()] == ["a"]
    point(versions, "")
    assert (versions.pinned, versions.pointed_at) == ("", {"b"})
    with pytest.raises(BadEvent):
        versions.apply(b"live/canary", b"\xff")
    assert versions.pointed_at == {"b"}, "what can't be read takes no pin away"


def test_the_newest_that_can_be_used_is_chosen_once() -> None:
    versions, shelf = published("a", "b"), Shelf()
    assert shelf.choose(PublishedVersions()) is None
    assert [shelf.choose(versions), shelf.choose(versions)] == ["b", None]
    assert versions.in_use == version("b", 2)
    assert shelf.tried == ["b"]


def test_a_pinned_one_is_chosen_alone_and_an_unknown_one_changes_nothing() -> None:
    versions, shelf = published("a", "b"), Shelf()
    point(versions, "a")
    assert shelf.choose(versions) == "a"
    point(versions, "nobody-knows")
    assert shelf.choose(versions) is None
    assert versions.in_use == version("a", 1)
    point(versions, "")
    assert shelf.choose(versions) == "b"


def test_what_can_not_be_trusted_is_rejected_once_for_the_one_before() -> None:
    versions, shelf = published("a", "b", "c"), Shelf(b="shape", c="hash")
    assert [shelf.choose(versions), shelf.choose(versions)] == ["a", None]
    assert shelf.tried == ["c", "b", "a"]
    assert shelf.rejected == [("c", "hash"), ("b", "shape")]
    versions.apply(
        b"version/c", ModelVersion(version_id="c", manifest_sha256="another", created_ms=4).SerializeToString()
    )
    shelf.bad.clear()
    assert shelf.choose(versions) == "c", "another of the same name"


def test_a_missing_folder_is_tried_again_and_reported_once_where_nothing_newer_is_to_be_had() -> None:
    versions, shelf = published("a", "b", "c"), Shelf(b="missing", c="missing")
    assert [shelf.choose(versions), shelf.choose(versions)] == ["a", None]
    assert shelf.rejected == [("c", "missing")]
    del shelf.bad["c"]
    assert shelf.choose(versions) == "c"


def test_what_may_not_be_used_yet_is_held_back() -> None:
    versions, shelf = published("a", "b", "c"), Shelf()
    assert (shelf.choose(versions, held_back=("a", "b", "c")), versions.held_back) == (None, 3)
    assert (shelf.choose(versions, held_back=("c",)), versions.held_back) == ("b", 1)
    versions.apply(b"version/b", None)  # retained away
    assert shelf.choose(versions, held_back=("c",)) is None, "what is in use goes on rather than an older one"
    assert (shelf.choose(versions), versions.held_back) == ("c", 0)


def test_one_taken_back_gives_way_to_the_one_before() -> None:
    versions, shelf = published("a", "b"), Shelf()
    assert shelf.choose(versions) == "b"
    versions.apply(b"version/b", None)
    assert shelf.choose(versions) == "a"
