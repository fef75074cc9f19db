"""A container's health check: exits with 0 when a service is ready. Standard library only, so that it starts fast.

    python -m shared.process.healthy SERVICE

It reads `freshet_<service>_ready` from the metrics of each of the service's processes.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping

SECONDS = 4.0


def ports(service: str, environ: Mapping[str, str]) -> list[int]:
    """The metrics port of each process.

    Raises:
        KeyError: none is set, so the port is unknown.
    """
    prefix = f"FRESHET_{service.upper()}"
    first, processes = int(environ[f"{prefix}_METRICS_PORT"]), int(environ.get(f"{prefix}_PROCESSES", "1"))
    return list(range(first, first + processes))


def ready(service: str, port: int) -> bool:
    """Whether the process with this metrics port is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", f"/metrics?name[]=freshet_{service}_ready")
        lines = connection.getresponse().read().decode().splitlines()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return f"freshet_{service}_ready 1.0" in lines


def main() -> int:
    """0 when every process is ready, else 1."""
    service = sys.argv[1]
    not_ready = [port for port in ports(service, os.environ) if not ready(service, port)]
    if not_ready:
        print(f"not ready: {service}, metrics on {', '.join(map(str, not_ready))}")
    return 1 if not_ready else 0


if __name__ == "__main__":
    sys.exit(main())
