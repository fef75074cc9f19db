"""A container's health check: exits with 0 when every process of inference is ready and gRPC says SERVING.

    python -m services.inference.healthy

It reads inference's settings from the container's environment.
"""

from __future__ import annotations

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.inference.settings import InferenceSettings
from shared.process.healthy import ports, ready
from shared.process.settings import load

SECONDS = 4.0


def main() -> int:
    """0 when healthy, else 1."""
    if not all(ready("inference", port) for port in ports("inference", os.environ)):
        print("not ready: products and states have not been read to their end yet")
        return 1
    address = f"127.0.0.1:{load(InferenceSettings).grpc_port}"
    try:
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    except grpc.RpcError as error:
        print(f"no answer from {address}: {error}")
        return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
