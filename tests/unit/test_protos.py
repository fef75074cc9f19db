"""The protos: fit for any language, generated as committed, every field with its meaning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))
# Field numbers in descriptor.proto: where comments lie.
MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHODS = 4, 5, 6, 2, 2, 2


def compile_protos(*arguments: str) -> None:
    well_known = str(resources.files("grpc_tools") / "_proto")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", "-I", well_known, *arguments],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_each_compiles_alone_from_the_protos_folder(proto: Path, tmp_path: Path) -> None:
    name = str(proto.relative_to(ROOT / "protos"))
    compile_protos(f"--descriptor_set_out={tmp_path / 'set.pb'}", f"--python_out={tmp_path}", name)
    assert [path.name for path in tmp_path.rglob("*_pb2.py")] == [f"{proto.stem}_pb2.py"]


def test_what_is_committed_is_what_they_generate(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("shared/pb", "services/gateway"):
        (tmp_path / folder).mkdir(parents=True)
    venv = Path(sys.executable).parent.parent
    installed = str(venv / ".installed")  # whatever its age, nothing is to be installed
    subprocess.run(["make", "protos", f"VENV={venv}", "-o", installed], cwd=tmp_path, check=True, capture_output=True)
    committed = {
        path.relative_to(ROOT): path.read_text()
        for path in (ROOT / "shared" / "pb").rglob("*.py*")
        if "_pb2" in path.name and path.suffix != ".pyc"
    }
    generated = {path.relative_to(tmp_path): path.read_text() for path in (tmp_path / "shared" / "pb").rglob("*_pb2*")}
    assert sorted(generated) == sorted(committed)
    for path, text in generated.items():
        assert text == committed[path], f"{path} is not what `make protos` makes"
    document = "services/gateway/openapi.json"
    assert (tmp_path / document).read_text() == (ROOT / document).read_text(), f"{document} is not what it makes"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[descriptor_pb2.FileDescriptorProto]:
    """The protos as descriptors, comments kept."""
    out = tmp_path_factory.mktemp("protos") / "all.pb"
    names = [str(path.relative_to(ROOT / "protos")) for path in PROTOS]
    compile_protos("--include_source_info", f"--descriptor_set_out={out}", *names)
    return list(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def uncommented(file: descriptor_pb2.FileDescriptorProto) -> list[str]:
    """The fields, enum values and calls without a word on them."""
    commented = {
        tuple(place.path)
        for place in file.source_code_info.location
        if place.leading_comments.strip() or place.trailing_comments.strip()
    }
    missing = []
    for m, message in enumerate(file.message_type):
        for f, field in enumerate(message.field):
            if (MESSAGES, m, FIELDS, f) not in commented:
                missing.append(f"{message.name}.{field.name}")
    for e, enum in enumerate(file.enum_type):
        missing += [
            f"{enum.name}.{value.name}"
            for v, value in enumerate(enum.value)
            if value.number and (ENUMS, e, VALUES, v) not in commented
        ]
    for s, service in enumerate(file.service):
        missing += [
            f"{service.name}.{method.name}"
            for n, method in enumerate(service.method)
            if (SERVICES, s, METHODS, n) not in commented
        ]
    return missing


def test_every_field_value_and_call_says_what_it_is(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    assert [name for file in files for name in uncommented(file)] == []


def test_times_carry_their_unit(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    for file in files:
        for message in file.message_type:
            for field in message.field:
                assert not re.search(r"(time|at|seconds?)$", field.name) or field.name.endswith("_seconds"), field.name


def test_all_is_in_the_one_package(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    assert {file.package for file in files} == {"freshet.v1"}
