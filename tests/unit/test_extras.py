"""Each service imports with what its extra installs, and nothing beside it: its image holds no more."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Distribution → what it is imported as, of those that an image may lack.
IMPORTED_AS = {
    "torch": "torch", "onnx": "onnx", "onnxruntime": "onnxruntime", "scipy": "scipy", "implicit": "implicit",
    "pandas": "pandas", "duckdb": "duckdb", "networkx": "networkx", "matplotlib": "matplotlib", "pyarrow": "pyarrow",
    "gymnasium": "gymnasium", "faust-streaming": "faust", "vaderSentiment": "vaderSentiment", "aiohttp": "aiohttp",
}  # fmt: skip


def installed(extra: str) -> set[str]:
    """Distributions of an extra, and of those that it names."""
    found: set[str] = set()
    for name in EXTRAS[extra]:
        if name.startswith("freshet["):
            for other in name.removeprefix("freshet[").removesuffix("]").split(","):
                found |= installed(other)
        else:
            found.add(name)
    return found


def test_a_policy_whose_library_is_not_installed_is_refused_with_what_to_do() -> None:
    program = (
        "import sys\nsys.modules['implicit'] = None\nfrom shared.policies.registry import class_of\nclass_of('bpr')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Unusable: the policy bpr needs implicit: install the extra `evaluate`" in done.stderr


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("services.features.__main__", "features"),
        ("services.trainer.__main__", "learn"),
        ("shared.policies.freshet.policy", "learn"),  # what the trainer learns unless told otherwise
        ("services.inference.__main__", "serve"),
        ("services.inference.service", "serve"),
        ("services.evaluator.__main__", "serve"),
        ("services.evaluator.loop", "serve"),
        ("services.gateway.__main__", "gateway"),
        ("services.gateway.server", "gateway"),
        ("replay.__main__", "replay"),
    ],
)
def test_it_imports_without_what_its_extra_does_not_install(module: str, extra: str) -> None:
    lacking = sorted(imported for name, imported in IMPORTED_AS.items() if name not in installed(extra))
    if extra == "features":
        lacking.remove("aiohttp")  # Faust brings it
    program = f"import sys\nfor name in {lacking}:\n    sys.modules[name] = None\nimport {module}"
    if module == "services.evaluator.loop":  # makes these by name
        program += "\nfrom shared.policies.registry import class_of\n"
        program += "from services.evaluator.accuracy import BASELINES\nlist(map(class_of, BASELINES))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
