"""The script `freshet`: tells what is not installed. It imports nothing itself that an install without extras lacks."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NOT_INSTALLED = 2

# Extra → what is imported of it. `evaluate` carries all that some commands need beside the console's own.
PACKAGES = {
    "console": (
        "confluent_kafka", "duckdb", "grpc_health", "numpy", "pandas", "prometheus_client", "pydantic",
        "pydantic_settings", "requests", "safetensors",
    ),
    "evaluate": (
        "cramjam", "faust", "grpc_reflection", "gymnasium", "implicit", "matplotlib", "networkx", "onnx", "onnxruntime",
        "pyarrow", "scipy", "seaborn", "threadpoolctl", "torch", "uvloop", "vaderSentiment",
    ),
}  # fmt: skip


def main() -> int:
    """Run one command; its exit status."""
    try:
        from services.console.__main__ import main as run  # needs the extra `console`

        return run()
    except ModuleNotFoundError as error:
        lacking = str(error.name).partition(".")[0]
        extra = next((extra for extra, packages in PACKAGES.items() if lacking in packages), None)
        if extra is None or find_spec(lacking) is not None:  # a module of ours, say, or a wrong name in a package
            raise
        print(f"freshet: {lacking} is not installed: pip install 'freshet[{extra}]'", file=sys.stderr)
        return NOT_INSTALLED
