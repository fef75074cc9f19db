"""What `freshet evaluate` does: read, run, tell."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from replay.order.ordered_copy import selection_of
from replay.settings import ReplaySettings
from services.lab import evaluate_report as report
from services.lab.datasets import (
    Dataset,
    Describing,
    Sequences,
    holds_sequences,
    read_dataset,
    read_sequences,
    sequences_of,
)
from services.lab.options import LONG_HISTORY, NEW_PRODUCTS, arguments_of
from services.lab.runs import NO_DECAY_DAYS, Evaluation, Protocol, Result, on_sequences, on_stream
from shared.content.new_products import ContentSettings
from shared.evaluation import protocols
from shared.evaluation.contest import Options
from shared.evaluation.figures import PRIMARY
from shared.evaluation.protocols import VARIANTS, Variant
from shared.pb.freshet.v1.events_pb2 import Product, StateVector
from shared.policies.registry import class_of
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Terminal
from shared.state.shop import ShopSettings, StreamSettings

Tried = Mapping[str, list[dict[str, Any]]]  # policy → the settings to try, in order


def evaluate(
    arguments: argparse.Namespace, command: str, terminal: Terminal, screen: Terminal, environ: Mapping[str, str]
) -> None:
    """Judge policies, and say how they did.

    Raises:
        Unusable: what was given can't be used.
    """
    tried = _tried(arguments)
    describing = Describing(environ)
    protocol, found = _read(arguments, describing, screen, environ)
    if arguments.warm_up and protocol != "prequential":
        raise Unusable(f"--warm-up is of --protocol prequential, not of {protocol}: leave it out")
    if not (protocol == "temporal" or arguments.warm_up) and any(len(own) > 1 for own in tried.values()):
        raise Unusable(
            "--set: several values are chosen among in a validation period: add --protocol temporal, or --warm-up"
        )
    asked = Evaluation(
        policies=arguments.policies,
        seeds=[arguments.seed + n for n in range(arguments.seeds)],
        settings=_stream_settings(arguments, protocol, environ),
        options={policy: candidates[0] for policy, candidates in tried.items()},
        spam_share=arguments.spam,
        listings=_listings(arguments, found),
        content=ContentSettings() if arguments.new_products == "placed" else None,
    )
    variant: Variant | None = None
    notes: list[str] = []
    if isinstance(found, Sequences):
        variant = chosen = arguments.variant or VARIANTS[0]
        result = on_sequences(asked, found, chosen, screen)
    elif protocol == "temporal":
        moment_ms = protocols.moment_at(found.states, protocols.LEARNED_SHARE)
        validation_ms = protocols.moment_at(found.states, protocols.LEARNED_SHARE - protocols.VALIDATION_SHARE)
        validation = partial(protocols.temporal, moment_ms=validation_ms)
        asked, notes = _chosen(asked, tried, found.states, moment_ms, validation, describing, screen)
        result = on_stream(asked, found.states, describing, screen, partial(protocols.temporal, moment_ms=moment_ms))
    else:
        from_ms = protocols.moment_at(found.states, arguments.warm_up) if arguments.warm_up else 0
        asked, notes = _chosen(asked, tried, found.states, from_ms, protocols.prequential, describing, screen)
        if from_ms:
            notes.append(f"The first {arguments.warm_up:.0%} of the events are learned and not judged.")
        result = on_stream(asked, found.states, describing, screen, partial(protocols.prequential, from_ms=from_ms))
    if not result.record.size:
        raise Unusable(f"{found.name} leaves no event to judge: it takes users who come back, or fewer --masked-kinds")
    if not result.answers:
        raise Unusable(f"no policy could be fitted: {next(iter(result.failures.values()))}")
    context = report.Context(
        command=command,
        data=found.name,
        fingerprint=found.fingerprint,
        protocol=protocol,
        variant=variant or "",
        seeds=list(asked.seeds),
        masked_kinds=asked.settings.masked_kinds,
        spam_share=asked.spam_share,
        new_products=arguments.new_products,
        reads_future=frozenset(name for name in asked.policies if getattr(class_of(name), "reads_future", False)),
        options=asked.options,
        notes=notes,
    )
    _tell(result, context, arguments, terminal, screen)


def _tell(
    result: Result, context: report.Context, arguments: argparse.Namespace, terminal: Terminal, screen: Terminal
) -> None:
    screen.status("  drawing users anew for the intervals")
    figures, speeds = result.figures(arguments.seed), result.speeds()
    screen.clear()
    for line in report.lines_of(result, figures, speeds, context):
        terminal.say(line)
    if arguments.json is not None:
        report.write_json(report.as_json(result, figures, speeds, context), arguments.json)
    if arguments.parquet is not None:
        report.write_parquet(result, context, arguments.parquet)


def _read(
    arguments: argparse.Namespace, describing: Describing, screen: Terminal, environ: Mapping[str, str]
) -> tuple[str, Dataset | Sequences]:
    """The protocol, and what it runs on."""
    file: Path = arguments.data
    settings = load(ReplaySettings, environ)
    asked = arguments.protocol == "leave-one-out"
    if arguments.mapping is None and holds_sequences(file, settings, asked=asked):
        if arguments.protocol not in (None, "leave-one-out"):
            raise Unusable(f"{file} holds sequences without times: only --protocol leave-one-out can judge on them")
        _refuse_spam(arguments)
        return "leave-one-out", read_sequences(file, settings)
    _refuse_variant(arguments)
    selection = selection_of(arguments)
    found = read_dataset(file, arguments.metadata, arguments.mapping, selection, environ, describing, screen)
    if asked:
        _refuse_spam(arguments)
        return "leave-one-out", sequences_of(found)
    return arguments.protocol or "prequential", found


def _listings(arguments: argparse.Namespace, found: Dataset | Sequences) -> list[Product]:
    """The products that are known before their first event."""
    if arguments.new_products == NEW_PRODUCTS[0]:
        return []
    if isinstance(found, Sequences):
        raise Unusable("--new-products: leave-one-out has no order in which products could be new; leave it out")
    if not found.products:
        raise Unusable("--new-products: nothing says what the products are: add --metadata, or leave it out")
    return found.products


def _refuse_variant(arguments: argparse.Namespace) -> None:
    if arguments.variant is not None and arguments.protocol != "leave-one-out":
        raise Unusable("--variant is of --protocol leave-one-out: say both, or neither")


def _refuse_spam(arguments: argparse.Namespace) -> None:
    if arguments.spam:
        raise Unusable("--spam needs times, which leave-one-out has none of: leave it out, or ask for another protocol")


def _stream_settings(arguments: argparse.Namespace, protocol: str, environ: Mapping[str, str]) -> StreamSettings:
    """The shop's own, where no option says otherwise; leave-one-out has no times and so no decay."""
    asked: dict[str, object] = {}
    if protocol == "leave-one-out":
        asked = {"history_length": LONG_HISTORY, "trending_half_life_days": NO_DECAY_DAYS}
    if arguments.history_length:
        asked["history_length"] = arguments.history_length
    if arguments.masked_kinds is not None:
        asked["masked_kinds"] = arguments.masked_kinds
    shop = load(ShopSettings, environ)
    return StreamSettings.model_validate({name: getattr(shop, name) for name in StreamSettings.model_fields} | asked)


def _tried(arguments: argparse.Namespace) -> Tried:
    """Of each policy that --set speaks of, every combination of the values given, all of which it takes."""
    given: dict[str, dict[str, list[Any]]] = {}
    for policy, option, values in arguments.settings:
        if policy not in arguments.policies:
            raise Unusable(f"--set {policy}.{option}: {policy} is not among --policies")
        given.setdefault(policy, {})[option] = values
    tried = {
        policy: [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]
        for policy, own in given.items()
    }
    for policy, candidates in tried.items():
        for candidate in candidates:
            arguments_of(policy, candidate)
    return tried


def _chosen(
    asked: Evaluation,
    tried: Tried,
    states: Sequence[StateVector],
    end_ms: int,
    validation: Protocol,
    describing: Describing,
    screen: Terminal,
) -> tuple[Evaluation, list[str]]:
    """With the settings that did best before a moment, by a protocol, and what to say of the choice."""
    wanted = {policy: candidates for policy, candidates in tried.items() if len(candidates) > 1}
    if not wanted:
        return asked, []
    learned = [state for state in states if state.event_time_ms < end_ms]
    scores: dict[str, list[float]] = {policy: [] for policy in wanted}
    for number in range(max(map(len, wanted.values()))):
        options = {policy: own[number] for policy, own in wanted.items() if number < len(own)}
        one = replace(asked, policies=list(options), seeds=asked.seeds[:1], options=options, spam_share=0.0)
        result = on_stream(one, learned, describing, screen, validation)
        if not result.record.size:
            raise Unusable("the validation period holds no event to judge: give each option one value")
        means = result.figures(asked.seeds[0]).policies if result.answers else {}
        for policy in options:
            scores[policy].append(means[policy][PRIMARY].mean if policy in means else float("-inf"))
    best = {policy: wanted[policy][own.index(max(own))] for policy, own in scores.items()}
    notes = [
        f"{policy}: {_said(options)}, the best of {len(wanted[policy])} tried in the validation period "
        f"({PRIMARY} {max(scores[policy]):.4f} there)."
        for policy, options in best.items()
    ]
    if len({len(tried.get(policy, [{}])) for policy in asked.policies}) > 1:
        notes.append("Policies were not given the same number of settings to try: the budgets are unequal.")
    chosen: Options = {**asked.options, **best}
    return replace(asked, options=chosen), notes


def _said(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
