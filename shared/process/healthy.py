"""Ends with 0 when a service can do its work, for a container's health check. Standard library only, so it is quick.

    python -m shared.process.healthy SERVICE

Asks the metrics of each of the service's processes, where its own settings put them, for `freshet_<service>_ready`.
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
        KeyError: none is set, so it could be any.
    """
    prefix = f"FRESHET_{service.upper()}"
    first, processes = int(environ[f"{prefix}_METRICS_PORT"]), int(environ.get(f"{prefix}_PROCESSES", "1"))
    return list(range(first, first + processes))


def ready(service: str, port: int) -> bool:
    """Whether the process whose metrics are on this port says that it can do its work."""
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
    waited_for = [port for port in ports(service, os.environ) if not ready(service, port)]
    if waited_for:
        print(f"not ready: {service}, metrics on {', '.join(map(str, waited_for))}")
    return 1 if waited_for else 0


if __name__ == "__main__":
    sys.exit(main())
