"""What a report is made from: the dataset, an evaluation, a simulation, and a run of those who learn values."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from replay.ordered_copy import Selection
from services.console import evaluate, evaluate_task
from services.console.evaluate import command_of
from services.console.evaluate_reading import Dataset, Describing, read_dataset
from services.console.evaluate_running import one_thread
from services.console.terminal import Terminal
from shared.errors import Unusable
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.policy import StepReport
from shared.policies.registry import make
from shared.policies.stream import Stream
from shared.settings import load
from shared.state.shop import ShopSettings, StreamSettings

LEARNERS = ("freshet", "dqn")  # that tell of their gradient steps
_EVALUATED = ("command", "seeds", "policies", "slices", "catalogue")
_SIMULATED = ("command", "seed", "policies", "curves")
_SHOW_EVERY = 200  # events


@dataclass(slots=True)
class Inputs:
    """Everything that figures are made from; what is missing is None or empty."""

    data: Dataset
    evaluation: dict[str, Any]
    events: pd.DataFrame | None  # a row per judged event, policy and seed
    simulation: dict[str, Any] | None
    steps: dict[str, list[StepReport]] = field(default_factory=dict)  # policy → its gradient steps

    @property
    def rewards(self) -> dict[int, float]:
        """Sequence → reward."""
        return {state.sequence: state.reward for state in self.data.states}


def gather(arguments: argparse.Namespace, screen: Terminal, environ: Mapping[str, str]) -> Inputs:
    """Read what is given, and do what is not.

    Raises:
        Unusable: a file can't be used, or is not what it should be.
    """
    simulation = (
        None if arguments.simulation is None else _document(arguments.simulation, _SIMULATED, "simulate compare")
    )
    given: Path | None = arguments.evaluation
    if given is not None:
        _document(given, _EVALUATED, "evaluate")  # refused before anything is read or learned
    data = read_dataset(
        arguments.data, arguments.metadata, arguments.mapping, Selection(), environ, Describing(environ), screen
    )
    if given is None:
        given = arguments.out / "evaluation.json"
        _evaluate(arguments, given, screen, environ)
    evaluation = _document(given, _EVALUATED, "evaluate")
    if evaluation.get("data", {}).get("fingerprint", data.fingerprint) != data.fingerprint:
        raise Unusable(f"{given} was made of other data than {arguments.data}, or that was read otherwise")
    parquet = given.with_suffix(".parquet")
    events = pd.read_parquet(parquet) if parquet.is_file() else None
    shop = load(ShopSettings, environ)
    steps = {name: gradient_steps(name, data.states, shop, arguments.seed, screen) for name in LEARNERS}
    return Inputs(data, evaluation, events, simulation, steps)


def gradient_steps(
    name: str, states: Sequence[StateVector], settings: StreamSettings, seed: int, screen: Terminal | None = None
) -> list[StepReport]:
    """Let a policy learn a stream; what it says of its gradient steps."""
    stream = Stream(settings)
    policy = make(name, stream, seed)
    reports = []
    with one_thread():
        for place, state in enumerate(states):
            report = policy.learn(stream.apply(state))
            if report is not None:
                reports.append(report)
            if screen is not None and place % _SHOW_EVERY == 0:
                screen.status(f"  {name} learns: {place / len(states):4.0%}")
    if screen is not None:
        screen.clear()
    return reports


def _evaluate(arguments: argparse.Namespace, target: Path, screen: Terminal, environ: Mapping[str, str]) -> None:
    """Run `freshet evaluate` here."""
    words = ["evaluate", str(arguments.data), "--policies", arguments.policies, "--seed", str(arguments.seed)]
    for option, value in (("--metadata", arguments.metadata), ("--mapping", arguments.mapping)):
        words += [] if value is None else [option, str(value)]
    words += ["--json", str(target), "--parquet", str(target.with_suffix(".parquet"))]
    parser = argparse.ArgumentParser(prog="freshet evaluate")
    evaluate.add(parser)
    evaluate_task.evaluate(
        parser.parse_args(words[1:]), command_of(words, environ), Terminal(io.StringIO()), screen, environ
    )


def _document(path: Path, keys: Sequence[str], maker: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unusable(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(document, dict) or any(key not in document for key in keys):
        raise Unusable(f"{path} is not what `freshet {maker} --json` writes")
    return document
