"""What `freshet demo` does: start everything, replay, show what was learned and where to call."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from replay import options
from replay.reading.formats import recognise, recognise_products
from replay.reading.mapping import load_mapping
from replay.settings import ReplaySettings
from services.demo import reviews, verdict
from services.demo.stream import Flow, lasting
from services.embedded.running import Running, empty_folder, launched
from services.embedded.system import SERVICES, System, plan
from services.embedded.variables import refuse_wrong
from services.evaluator.settings import EvaluatorSettings
from shared.process.errors import Unusable
from shared.process.settings import KafkaSettings, load
from shared.process.terminal import Terminal

# Shorter than the services' defaults, as a demo of a minute needs it; the operator's variables win.
DEFAULTS = {
    "FRESHET_TRAINER_CHECKPOINT_EVENTS": "1000",
    "FRESHET_TRAINER_PUBLISH_EVENTS": "1000",
}
# After the last event was sent, the learner gets as long as the replay took, and at least this.
LEAST_PATIENCE_SECONDS = 60.0

_SNIPPET = """\
{python} - <<'EOF'
import freshet

with freshet.Client({address}) as shop:
    shown = shop.recommend({user}, count=5)
for place, product in enumerate(shown, start=1):
    print(place, product.product_id, round(product.score, 3))
print("answered by", shown.model_version or shown.strategy)
EOF"""


def demo(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> None:
    """Show the demo.

    Raises:
        Unusable: what was given can't be used; raised before anything starts where that can be known.
        Unavailable: a part failed.
    """
    data, metadata = _readable(arguments.data, "--data"), _readable(arguments.metadata, "--metadata")
    mapping = _readable(arguments.mapping, "--mapping")
    for name, about in (("--metadata", metadata), ("--mapping", mapping)):
        if about is not None and data is None:
            raise Unusable(f"{name} describes a file of yours: name that with --data")
    refuse_wrong(DEFAULTS | dict(environ))
    if data is not None:
        _look_at(data, metadata, mapping, load(ReplaySettings, environ))
    within = options.duration(arguments.within)
    with empty_folder(arguments.state_dir) as folder:
        system = plan(folder, environ, defaults=DEFAULTS)
        kafka = load(KafkaSettings, system.environment)
        before = []
        terminal.say(how_long(within))
        terminal.heading(1, "What is started")
        if data is None:
            data, metadata = folder / "sample.json.gz", folder / "sample-products.json.gz"
            before = [system.replay("sample", "--out", str(data), "--meta", str(metadata), name="sample")]
        with launched(system, terminal, embedded=True, before=before) as running:
            try:
                _show(running, kafka, data, {"--metadata": metadata, "--mapping": mapping}, arguments)
            except KeyboardInterrupt:
                terminal.say("\n  Interrupted; stopping everything.")
                raise
            if arguments.keep:
                _stay(running)
            terminal.say("  Stopping everything.")
    terminal.say("  Nothing is left running. Logs and models stay until the next demo, in")
    terminal.say(f"  {arguments.state_dir}.")
    terminal.say("  A page with figures that compares policies on this data takes some minutes:\n")
    command = report_command(data, {"--metadata": metadata, "--mapping": mapping}, folder / "report")
    terminal.say("    " + " \\\n      ".join(command) + "\n")


def how_long(replay_seconds: float) -> str:
    """How long the demo takes: half a minute to start, the replay, half a minute to show."""
    minutes = math.ceil((replay_seconds + 60) / 60)
    times = f"{minutes} minutes" if minutes < 120 else f"{math.ceil(minutes / 60)} hours"
    return (
        f"  This takes about {times}, of which the replay takes {lasting(replay_seconds)}; on a slow machine\n"
        "  the learner may need as long again. Ctrl-C ends it at any time."
    )


def _look_at(data: Path, metadata: Path | None, mapping: Path | None, settings: ReplaySettings) -> None:
    """Check by their beginnings that the replay can read the files."""
    recognise(data, None if mapping is None else load_mapping(mapping), settings)
    if metadata is not None:
        recognise_products(metadata, None, settings)


def _show(
    running: Running, kafka: KafkaSettings, data: Path, about: Mapping[str, Path | None], arguments: argparse.Namespace
) -> None:
    terminal, system = running.terminal, running.system
    given = [part for name, file in about.items() if file is not None for part in (name, str(file))]
    replay = system.replay("run", str(data), "--within", arguments.within, "--evenly", *given, "--stay")
    running.start(replay, f"sends {data.name} within {arguments.within}")
    terminal.say(f"\n  Logs: {_shortened(system.state_dir / 'logs')}/")

    terminal.heading(2, "Events flow, the learner learns, model versions go live")
    every = int(system.environment["FRESHET_TRAINER_PUBLISH_EVENTS"])
    terminal.say(f"  A version comes every {every:,} events (FRESHET_TRAINER_PUBLISH_EVENTS).\n")
    flow = Flow(running, patience_seconds=max(LEAST_PATIENCE_SECONDS, options.duration(arguments.within)))
    flow.follow()

    terminal.heading(3, "One more review, and what it changes at once")
    terminal.say("  Each of these users gets a list, reviews its first product and gets another.")
    terminal.say("  Both lists leave that product out, so that the moves of the others show.\n")
    somebody = reviews.show(running, kafka, arguments.users)

    terminal.heading(4, "Live accuracy: the learned policy beside two baselines")
    evaluator = load(EvaluatorSettings, system.environment)
    for line in verdict.lines(
        running.figures("evaluator"), evaluator.recent_events, unlearned=flow.events - flow.learned
    ):
        terminal.say(line)

    terminal.heading(5, "Where to call")
    for line in where_to_call(system, somebody, kept=arguments.keep):
        terminal.say(line)


def _stay(running: Running) -> None:
    running.terminal.say("  Staying up; Ctrl-C ends it.")
    try:
        running.watch()
    except KeyboardInterrupt:
        running.terminal.say()


def _readable(path: Path | None, option: str) -> Path | None:
    if path is None:
        return None
    if not path.exists():
        raise Unusable(f"{option}: no such file: {path}")
    if not path.is_file():
        raise Unusable(f"{option}: {path} is not a file")
    if not os.access(path, os.R_OK):
        raise Unusable(f"{option}: {path} may not be read; check its permissions")
    if not path.stat().st_size:
        raise Unusable(f"{option}: {path} is empty")
    return path


# What to type next: lines that work as printed. Pure.


def where_to_call(system: System, user_id: str, *, kept: bool) -> list[str]:
    """The lines of the last part."""
    if kept:
        head = (
            "  It stays up until Ctrl-C. In another terminal, `freshet` commands in this\n"
            "  folder find this system by themselves. Other ways to call it:"
        )
    else:
        head = (
            "  With `make demo KEEP=1`, or `freshet demo --keep`, it stays up and these work.\n"
            "  The ports differ from run to run, unless FRESHET_GATEWAY_PORT and\n"
            "  FRESHET_INFERENCE_GRPC_PORT name them:"
        )
    return [
        head,
        "",
        f"  The page: {system.page_url}",
        f"  Kafka:    {system.bootstrap_servers}",
        f"  gRPC:     {system.grpc_address}",
        "",
        grpcurl(system.grpc_address, user_id),
        "",
        snippet(_python(), system.grpc_address, user_id),
        "",
        curl(system.page_url, user_id),
        "",
        "  Metrics:",
        *(f"    {name:<10} {system.metrics_url(name)}" for name in ("replay", *SERVICES)),
        "",
    ]


def grpcurl(address: str, user_id: str) -> str:
    """The line for https://github.com/fullstorydev/grpcurl; reflection tells it the protos."""
    request = shlex.quote(json.dumps({"user_id": user_id, "wishes": {"count": 5}}))
    return f"grpcurl -plaintext -d {request} \\\n  {address} freshet.v1.RecommenderService/Recommend"


def curl(page_url: str, user_id: str) -> str:
    """The same call over HTTP."""
    url = f"{page_url}v1/users/{quote(user_id, safe='')}/recommendations?count=5"
    return f"curl {shlex.quote(url)}"


def snippet(python: str, address: str, user_id: str) -> str:
    """The same call for a shell with the project's Python."""
    return _SNIPPET.format(python=shlex.quote(python), address=json.dumps(address), user=json.dumps(user_id))


def report_command(data: Path, about: Mapping[str, Path | None], out: Path) -> list[str]:
    """What to type to have a report on the demo's own data: one command, in the parts that are a line each."""
    options_given = [(name, _shortened(file)) for name, file in (*about.items(), ("--out", out)) if file is not None]
    head = (_beside_python("freshet"), "report", _shortened(data))
    return [shlex.join(part) for part in (head, *options_given)]


def _python() -> str:
    """This interpreter, as one would type it here."""
    return _shortened(Path(sys.executable))


def _beside_python(program: str) -> str:
    """A program of the same environment, as one would type it here."""
    return _shortened(Path(sys.executable).with_name(program))


def _shortened(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
