"""Which figures a report has: what each shows, what it is made from, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from services.console import report_data as tables
from services.console import report_figures as draw
from services.console.report_data import GAMMA
from services.console.report_inputs import Inputs

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
    """Every figure, those whose input is missing too; `seed`: of what is drawn for the report itself."""
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
        None if events is None else lambda: draw.training(tables.training(events, inputs.rewards), colours),
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
    curves = {policy: tables.convergence(own) for policy, own in inputs.steps.items() if own}
    yield Plan(
        "convergence",
        "Convergence of Q-values",
        "Mean over a batch of the best product's value, and temporal-difference loss, by gradient step. Rewards are at "
        f"most 1, so values above 1 / (1 - {GAMMA}) would say that they diverge ({GAMMA}: freshet 0.5, dqn 0.9). "
        "The two losses are of different kinds and batches: look at their course, not at their height.",
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
        "overlap, that part alone does not tell the policies apart.",
        f"a row per judged event (Parquet); {_seeds(inputs)}, of the intervals {seed}",
        None
        if events is None
        else lambda: draw.over_time(
            {metric.upper(): tables.over_time(events, metric, seed) for metric in ("hr@10", "ndcg@10")}, colours
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
        f"is better in both. Lines: {level}.",
        source,
        lambda: draw.coverage(tables.coverage(document, "ndcg@10"), colours, label="NDCG@10"),
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
        lambda: draw.discounts(tables.estimates(document, "reward"), tables.discounts(document), learned),
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
