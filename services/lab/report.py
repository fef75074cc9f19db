"""What `freshet report` does: gathers its inputs, plans the figures, draws them, and writes the page.

The page shows every figure with its caption and with what it is made from, and loads nothing from another host.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from replay.order.ordered_copy import Selection
from services.lab import report_figures as draw
from services.lab import report_figures as tables
from services.lab.datasets import Dataset, Describing, read_dataset
from services.lab.evaluate import evaluate
from services.lab.options import add_options, command_of
from services.lab.report_figures import GAMMA
from services.lab.runs import one_thread
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.contract import StepReport
from shared.policies.registry import make
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Terminal
from shared.state.shop import ShopSettings, StreamSettings
from shared.state.stream import Stream

PAGE = "index.html"
LEARNERS = ("freshet", "dqn")  # whose gradient steps are shown

_DPI = 150
_SHOW_EVERY = 200  # events
# Keys by which a file is known to be what it should be.
_EVALUATED = ("command", "seeds", "policies", "slices", "catalogue")
_SIMULATED = ("command", "seed", "policies", "curves")

_SLICES = (
    (
        "classes",
        "NDCG@10 by class of users",
        ("new users", "occasional users", "regular users", "lapsed users"),
        "New, occasional, regular and lapsed users, as they were then",
    ),
    (
        "activity",
        "NDCG@10 by activity of users",
        ("cold users", "warm users"),
        "Cold: users with fewer than 5 events before; warm: others",
    ),
)
_NO_EVENTS = (
    "Missing: the judged events, one by one. `freshet evaluate --json NAME.json --parquet NAME.parquet` writes them "
    "beside the figures; give NAME.json to --evaluation."
)
_NO_SIMULATION = (
    "Missing: a simulation. `freshet simulate fit DATA --to shop`, then `freshet simulate compare shop --json "
    "shop.json`; give shop.json to --simulation."
)

_STYLE = """
:root { color-scheme: light dark; --back: #f7f8fa; --card: #fff; --ink: #1f2937; --muted: #5b6472; --line: #e1e5ea; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171c; --card: #1d2128; --ink: #e6e9ee; --muted: #a3acba; --line: #323844; }
}
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; }
nav { margin: 1rem 0 2rem; columns: 18rem; font-size: .95rem; }
nav a { color: inherit; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.2rem; }
section { margin: 1.2rem 0; }
img { display: block; box-sizing: border-box; width: 100%; height: auto; }
img { padding: .5rem; background: #fff; border-radius: .4rem; }
p { margin: .7rem 0 0; max-width: 60rem; }
.made { color: var(--muted); font-size: .87rem; }
.missing { border-left: .25rem solid #d08700; padding-left: .8rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def make_report(
    arguments: argparse.Namespace, command: str, terminal: Terminal, screen: Terminal, environ: Mapping[str, str]
) -> None:
    """Make the report and say where it is.

    Raises:
        Unusable: what was given can't be used, or the folder can't be written.
    """
    folder: Path = arguments.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inputs = gather(arguments, screen, environ)
        drawn = list(figures(inputs, command, arguments.seed, lambda name: screen.status(f"  drawing {name}")))
        screen.clear()
        for figure in drawn:
            if figure.picture is not None:
                (folder / f"{figure.name}.png").write_bytes(figure.picture)
        (folder / PAGE).write_text(page(*_head(inputs), drawn, command), encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{folder} can't be written ({error.strerror or error}); name another --out") from error
    for figure in drawn:
        terminal.say(f"  {figure.title:<58} {f'{figure.name}.png' if figure.picture is not None else 'input missing'}")
    terminal.say(f"The report is {folder / PAGE}.")


def _head(inputs: Inputs) -> tuple[str, list[str]]:
    evaluation = inputs.evaluation
    data = evaluation.get("data", {})
    seeds = ", ".join(map(str, evaluation["seeds"]))
    about = [
        f"{data.get('events', len(inputs.data.states)):,} events of {data.get('users', 0):,} users on "
        f"{data.get('products', 0):,} products; protocol {evaluation.get('protocol', 'prequential')}; "
        f"{evaluation.get('judged', 0):,} events judged, each over the whole catalogue; seed {seeds}.",
    ]
    if evaluation.get("reads_future"):
        about.append(f"Reads the future, as its source has it: {', '.join(evaluation['reads_future'])}.")
    if not evaluation.get("claims", False):
        about.append("Too few products, events or seeds to claim that one policy is better than another.")
    return f"Freshet: report on {inputs.data.name}", about


def figures(inputs: Inputs, command: str, seed: int, look: Callable[[str], None]) -> Iterator[ReportFigure]:
    """Every figure of the page, also those whose input is missing.

    Args:
        command: that makes the report.
        seed: of what is drawn at random for it.
        look: gets the name of each figure before it is drawn.
    """
    for plan in planned(inputs, seed):
        look(plan.name)
        picture = None if plan.draw is None else _png(plan.draw())
        yield ReportFigure(
            plan.name, plan.title, plan.caption, plan.source, plan.command or command, picture, plan.missing
        )


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DPI, facecolor="white", metadata={"Software": "freshet"})
    return sink.getvalue()


# What a report is made from: the dataset, an evaluation, a simulation, and a run of the policies that learn values.


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
    """Read the inputs that are given, and make those that are not.

    Raises:
        Unusable: a file can't be used, or holds something else.
    """
    simulation = (
        None if arguments.simulation is None else _document(arguments.simulation, _SIMULATED, "simulate compare")
    )
    given: Path | None = arguments.evaluation
    if given is not None:
        _document(given, _EVALUATED, "evaluate")  # refused before anything is read or learned
    data = read_dataset(
        arguments.data,
        arguments.metadata,
        arguments.mapping,
        Selection(),
        environ,
        Describing(environ),
        screen,
        time.time_ns() // 1_000_000,
    )
    if given is None:
        given = arguments.out / "evaluation.json"
        _evaluate(arguments, given, screen, environ)
    evaluation = _document(given, _EVALUATED, "evaluate")
    if evaluation.get("data", {}).get("fingerprint", data.fingerprint) != data.fingerprint:
        raise Unusable(
            f"{given} was made from other data than {arguments.data}, or from the same data read in another way"
        )
    parquet = given.with_suffix(".parquet")
    events = pd.read_parquet(parquet) if parquet.is_file() else None
    shop = load(ShopSettings, environ)
    steps = {name: gradient_steps(name, data.states, shop, arguments.seed, screen) for name in LEARNERS}
    return Inputs(data, evaluation, events, simulation, steps)


def gradient_steps(
    name: str, states: Sequence[StateVector], settings: StreamSettings, seed: int, screen: Terminal | None = None
) -> list[StepReport]:
    """Let a policy learn a stream; the reports of its gradient steps."""
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
    """Run `freshet evaluate` in this process."""
    words = ["evaluate", str(arguments.data), "--policies", arguments.policies, "--seed", str(arguments.seed)]
    for option, value in (("--metadata", arguments.metadata), ("--mapping", arguments.mapping)):
        words += [] if value is None else [option, str(value)]
    words += ["--json", str(target), "--parquet", str(target.with_suffix(".parquet"))]
    parser = argparse.ArgumentParser(prog="freshet evaluate")
    add_options(parser)
    evaluate(parser.parse_args(words[1:]), command_of(words, environ), Terminal(io.StringIO()), screen, environ)


def _document(path: Path, keys: Sequence[str], maker: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unusable(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(document, dict) or any(key not in document for key in keys):
        raise Unusable(f"{path} is not what `freshet {maker} --json` writes")
    return document


# Which figures there are: what each shows, what it is made from, and how it is drawn.


@dataclass(frozen=True, slots=True)
class Plan:
    """One figure."""

    name: str  # of its file, without .png
    title: str
    caption: str
    source: str  # what it is made from, with the seed
    draw: Callable[[], Figure] | None  # None: its input is missing
    command: str = ""  # that made the input; empty: the report's own
    missing: str = ""  # what to say then


def planned(inputs: Inputs, seed: int) -> Iterator[Plan]:
    """Every figure, also those whose input is missing.

    Args:
        seed: of what is drawn at random for the report itself.
    """
    names = list(dict.fromkeys([*inputs.evaluation["policies"], *inputs.steps]))
    colours = draw.colours_of(names)
    yield from _of_learning(inputs, colours, seed)
    yield from _of_accuracy(inputs, colours, seed)
    yield from _of_simulation(None if inputs.simulation is None else tables.with_gamma(inputs.simulation))


def _of_learning(inputs: Inputs, colours: draw.Colours, seed: int) -> Iterator[Plan]:
    events, name = inputs.events, inputs.data.name
    yield Plan(
        "training",
        "Precision, recall and cumulative reward over training",
        "Before each event was learned, every policy ranked the whole catalogue. Each point is the mean of the events "
        "since the point before. A policy collects the reward of an event when it had the product among its first ten.",
        f"a row per judged event (Parquet) and the rewards of {name}; {_seeds(inputs)}",
        None if events is None else lambda: draw.training(tables.training_table(events, inputs.rewards), colours),
        command=inputs.evaluation["command"],
        missing=_NO_EVENTS,
    )
    shares = tables.sentiment_shares(inputs.data.states)
    yield Plan(
        "sentiment",
        "Positive, neutral and negative reviews",
        "By VADER's compound score: positive from 0.05, negative up to -0.05, neutral between. Reviews without a text "
        "are left out.",
        f"the texts of {name}, as the features service scores them; nothing is drawn at random",
        (lambda: draw.sentiment(shares)) if len(shares) else None,
        missing=f"Missing: texts. {name} holds none, so there is no sentiment to show.",
    )
    curves = {policy: tables.convergence_table(steps) for policy, steps in inputs.steps.items() if steps}
    yield Plan(
        "convergence",
        "Convergence of Q-values",
        "Mean over a batch of the best product's value, and temporal-difference loss, by gradient step. Rewards are at "
        f"most 1, so values above 1 / (1 - {GAMMA}) mean that they diverge ({GAMMA}: freshet 0.5, dqn 0.9). "
        "The two losses are of different kinds and batches: compare their course, not their height.",
        f"one run of each learner over {name}, without judging; seed {seed}",
        (lambda: draw.convergence(curves, colours)) if curves else None,
        missing="Missing: gradient steps. The dataset holds too few transitions for the first one.",
    )


def _of_accuracy(inputs: Inputs, colours: draw.Colours, seed: int) -> Iterator[Plan]:
    document, events = inputs.evaluation, inputs.events
    by, source = document["command"], f"the evaluation's JSON; {_seeds(inputs)}"
    level = f"{document.get('level', 0.95):.0%} bootstrap interval over users"
    yield Plan(
        "success",
        "Success rate beside traditional policies",
        f"Share of events whose product was among the first ten (HR@10). Lines: {level}.",
        source,
        lambda: draw.bars(tables.estimates(document, "hr@10"), colours, label="product among the first ten"),
        command=by,
    )
    yield Plan(
        "accuracy",
        "HR@10 and NDCG@10 over time",
        f"In {tables.PERIODS} parts of the stream, as many judged events in each. Shaded: {level}; where shades "
        "overlap, that part alone shows no difference between the policies.",
        f"a row per judged event (Parquet); {_seeds(inputs)}, of the intervals {seed}",
        None
        if events is None
        else lambda: draw.over_time(
            {metric.upper(): tables.over_time_table(events, metric, seed) for metric in ("hr@10", "ndcg@10")}, colours
        ),
        command=by,
        missing=_NO_EVENTS,
    )
    for name, title, parts, what in _SLICES:
        yield Plan(
            name,
            title,
            f"{what}. Lines: {level}.",
            source,
            _slices(tables.by_slice(document, parts, "ndcg@10"), colours),
            command=by,
            missing="Missing: the evaluation has no such slices.",
        )
    yield Plan(
        "coverage",
        "Coverage against accuracy",
        "Right: more of the catalogue is shown to somebody. Up: more often right. A policy above and right of another "
        f"is better in both ways. Lines: {level}.",
        source,
        lambda: draw.coverage(tables.coverage_table(document, "ndcg@10"), colours, label="NDCG@10"),
        command=by,
    )


def _of_simulation(document: dict[str, Any] | None) -> Iterator[Plan]:
    title = f"{GAMMA} = 0 against {GAMMA} > 0 in the simulator"
    if document is None:
        yield Plan("discount", title, "", "", None, missing=_NO_SIMULATION)
        return
    source, by = f"the simulation's JSON; seed {document['seed']}", str(document["command"])
    learned = draw.colours_of_learned(list(document["curves"]))
    yield Plan(
        "discount",
        title,
        "Simulated users, fitted to an earlier period for learning and to a later one for judging. The same network is "
        f"greedy on the next reward with {GAMMA} = 0. Lines: 95 % bootstrap interval over visits. Where they overlap, "
        "the figure does not show that looking ahead pays.",
        source,
        lambda: draw.discounts(tables.estimates(document, "reward"), tables.discounts_table(document), learned),
        command=by,
    )
    yield Plan(
        "visits",
        "Success rate in the simulator",
        "Share of simulated visits with a purchase, in the later period. Lines: 95 % bootstrap interval over visits.",
        source,
        lambda: draw.bars(tables.estimates(document, "success"), learned, label="visits with a purchase"),
        command=by,
    )


def _slices(table: tables.Table, colours: draw.Colours) -> Callable[[], Figure] | None:
    return (lambda: draw.slices(table, colours, label="NDCG@10")) if len(table) else None


def _seeds(inputs: Inputs) -> str:
    seeds = inputs.evaluation["seeds"]
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


# The page.


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """One figure of the page."""

    name: str  # of its file, without .png
    title: str
    caption: str  # what is shown
    source: str  # what it is made from
    command: str  # that made what it is made from
    picture: bytes | None  # a PNG; None: its input is missing
    missing: str = ""  # then: which, and what to do


def page(title: str, about: Sequence[str], figures: Sequence[ReportFigure], command: str) -> str:
    """The whole page, its pictures inside it.

    Args:
        about: a line each, of what all is made from.
        command: that made the page.
    """
    contents = "".join(f'<a href="#{_(figure.name)}">{_(figure.title)}</a><br>' for figure in figures)
    lines = "".join(f"<p>{_(line)}</p>" for line in about)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{_(title)}</h1>{lines}</header>\n<nav>{contents}</nav>\n"
        + "".join(map(_section, figures))
        + f'<footer class="made"><p>The page was made by <code>{_(command)}</code></p></footer>\n'
        + "</main>\n</body>\n</html>\n"
    )


def _section(figure: ReportFigure) -> str:
    if figure.picture is None:
        body = f'<p class="missing">{_(figure.missing)}</p>'
    else:
        picture = base64.b64encode(figure.picture).decode()
        body = (
            f'<img alt="{_(figure.title)}" src="data:image/png;base64,{picture}">\n<p>{_(figure.caption)}</p>\n'
            f'<p class="made">Made from {_(figure.source)}: <code>{_(figure.command)}</code></p>'
        )
    return f'<section id="{_(figure.name)}">\n<h2>{_(figure.title)}</h2>\n{body}\n</section>\n'


def _(text: str) -> str:
    return html.escape(text)
