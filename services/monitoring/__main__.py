"""Monitoring: writes Grafana's dashboards from the code beside it; Grafana reads the files.

    python -m services.monitoring

It rewrites services/monitoring/grafana/dashboards. The files are committed, and a test compares them with the code.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from services.monitoring.dashboards import DASHBOARDS
from services.monitoring.panels import Dashboard

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def text(dashboard: Dashboard) -> str:
    """The content of a dashboard's file."""
    return json.dumps(dashboard.to_json(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write every dashboard; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.monitoring", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    for dashboard in DASHBOARDS:
        file = FOLDER / f"{dashboard.uid}.json"
        file.write_text(text(dashboard), encoding="utf-8")
        print(f"{file.name}: {sum(map(len, dashboard.sections.values()))} panels")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
