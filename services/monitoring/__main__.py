"""Monitoring: writes Grafana's dashboards from the code beside it, for Grafana to read them as files.

    python -m services.monitoring --output dashboards

docker-compose.yml does so at every start. A Grafana of your own reads the folder by a provider of type `file`
(services/monitoring/grafana/provisioning has one), with a Prometheus data source whose uid is `prometheus`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from services.monitoring import DASHBOARDS
from services.monitoring.panels import Dashboard

FAILED = 1


def text(dashboard: Dashboard) -> str:
    """The content of a dashboard's file."""
    return json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> list[Path]:
    """Write every dashboard into a folder, made where it is missing; a file of its name is replaced whole.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for dashboard in DASHBOARDS:
        file = folder / f"{dashboard.uid}.json"
        unfinished = file.with_suffix(".part")  # a Grafana that looks now finds the old file or the new one
        unfinished.write_text(text(dashboard), encoding="utf-8")
        written.append(unfinished.replace(file))
    return written


def main(arguments: Sequence[str]) -> int:
    """Write every dashboard; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.monitoring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the dashboards are written")
    output = parser.parse_args(arguments).output
    try:
        for file in write(output):
            print(file)
    except OSError as error:
        print(f"can't write in {output}: {error.strerror or error}; choose another --output", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
