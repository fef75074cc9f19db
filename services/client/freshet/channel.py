"""How the service is reached."""

from __future__ import annotations

OPTIONS: tuple[tuple[str, int], ...] = (
    # `retry` tries again; two loops, one in the other, would multiply attempts.
    ("grpc.enable_retries", 0),
    # A call fails at once while its channel waits to connect again, so that wait must be short: gRPC's grows to 2 min.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A peer that went away without a word (a machine lost, a firewall that forgot) is found out while calls wait for
    # it. Where no call waits, a service may hang up on whoever asks more often than every 5 minutes.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)

ADDRESS = "127.0.0.1:50051"
TIMEOUT_SECONDS = 5.0
