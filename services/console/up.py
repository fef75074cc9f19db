"""`freshet up`: the system without a replay, until it is stopped."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.embedded.system import BOOTSTRAP, KAFKA_PORT, SERVICES, plan
from shared.process import running_system
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

_MARKED_OR_KEPT = (
    "With the embedded broker everything starts empty, since it keeps the log in memory. "
    f"With {BOOTSTRAP} set, that Kafka is used and the state folder is kept."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = f"Run every service as a process of its own until Ctrl-C or SIGTERM. {_MARKED_OR_KEPT}"
    parser.add_argument(
        "--state-dir", type=Path, default=Path(".freshet/up"), metavar="FOLDER",
        help="checkpoints, model versions and logs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        KAFKA_PORT, type=_port, default=9092, metavar="PORT",
        help="of the embedded broker (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Run until interrupted.

    Raises:
        Unusable: a setting, a port or the folder can't be used.
        Unavailable: a part failed.
    """
    from services.embedded.running import launched  # takes half a second, which `--help` need not wait for
    from services.embedded.variables import refuse_wrong
    from services.gateway.settings import GatewaySettings
    from services.inference.settings import InferenceSettings

    refuse_wrong(environ)
    own_kafka = environ.get(BOOTSTRAP)
    with _folder(arguments.state_dir, lasting=own_kafka is not None) as folder:
        system = plan(
            folder,
            environ,
            bootstrap_servers=own_kafka,
            kafka_port=arguments.kafka_port,
            grpc_port=int(InferenceSettings.model_fields["grpc_port"].default),
            http_port=int(GatewaySettings.model_fields["port"].default),
        )
        with launched(system, terminal, embedded=own_kafka is None) as running:
            terminal.say(f"\n  Logs: {folder / 'logs'}/\n")
            terminal.say(f"  Kafka {system.bootstrap_servers}, gRPC {system.grpc_address}, page {system.page_url}")
            terminal.say("  Metrics:")
            for name in SERVICES:
                terminal.say(f"    {name:<10} {system.metrics_url(name)}")
            terminal.say()
            if running_system.is_found_here(folder):
                terminal.say("  `freshet` commands in this folder find this system by themselves.")
            else:
                terminal.say("  Other `freshet` commands find this system with")
                terminal.say(f"  {BOOTSTRAP}={system.bootstrap_servers}")
            terminal.say("  Running; Ctrl-C ends it.")
            try:
                running.watch()
            except KeyboardInterrupt:
                terminal.say("\n  Stopping everything.")
    return 0


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 1 to 65535")
    return int(text)


@contextmanager
def _folder(folder: Path, *, lasting: bool) -> Iterator[Path]:
    from services.embedded.running import empty_folder, require_unmarked

    if not lasting:
        with empty_folder(folder) as emptied:
            yield emptied
        return
    require_unmarked(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(f"can't use {folder} ({error.strerror}); name another folder with --state-dir") from error
    yield folder
