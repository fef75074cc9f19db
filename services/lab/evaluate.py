"""What `freshet evaluate` does: reads a dataset, chooses settings on its beginning, runs a protocol, reports."""

from __future__ import annotations

import argparse
import itertools
import time
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
    """Judge policies, and report the figures.

    Raises:
        Unusable: what was given can't be used.
    """
    tried = _tried(arguments)
    describing = Describing(environ)
    protocol, data = _read(arguments, describing, screen, environ)
    if arguments.warm_up and protocol != "prequential":
        raise Unusable(f"--warm-up belongs to --protocol prequential, not to {protocol}: leave it out")
    if not (protocol == "temporal" or arguments.warm_up) and any(len(candidates) > 1 for candidates in tried.values()):
        raise Unusable(
            "--set: to choose among several values takes a validation period: add --protocol temporal, or --warm-up"
        )
    evaluation = Evaluation(
        policies=arguments.policies,
        seeds=[arguments.seed + n for n in range(arguments.seeds)],
        settings=_stream_settings(arguments, protocol, environ),
        options={policy: candidates[0] for policy, candidates in tried.items()},
        spam_share=arguments.spam,
        listings=_listings(arguments, data),
        content=ContentSettings() if arguments.new_products == "placed" else None,
    )
    variant: Variant | None = None
    notes: list[str] = []
    if isinstance(data, Sequences):
        variant = chosen = arguments.variant or VARIANTS[0]
        result = on_sequences(evaluation, data, chosen, screen)
    elif protocol == "temporal":
        moment_ms = protocols.moment_at(data.states, protocols.LEARNED_SHARE)
        validation_ms = protocols.moment_at(data.states, protocols.LEARNED_SHARE - protocols.VALIDATION_SHARE)
        validation = partial(protocols.temporal, moment_ms=validation_ms)
        evaluation, notes = _chosen(evaluation, tried, data.states, moment_ms, validation, describing, screen)
        temporal = partial(protocols.temporal, moment_ms=moment_ms)
        result = on_stream(evaluation, data.states, describing, screen, temporal)
    else:
        from_ms = protocols.moment_at(data.states, arguments.warm_up) if arguments.warm_up else 0
        evaluation, notes = _chosen(evaluation, tried, data.states, from_ms, protocols.prequential, describing, screen)
        if from_ms:
            notes.append(f"The first {arguments.warm_up:.0%} of the events are learned and not judged.")
        result = on_stream(evaluation, data.states, describing, screen, partial(protocols.prequential, from_ms=from_ms))
    if data.left_out:
        notes.append(
            "Events left out since they lie more than a day ahead of the clock, as features refuses them: "
            f"{data.left_out:,}."
        )
    if not result.record.size:
        raise Unusable(f"{data.name} leaves no event to judge: it needs users who come back, or fewer --masked-kinds")
    if not result.answers:
        raise Unusable(f"no policy could be fitted: {next(iter(result.failures.values()))}")
    context = report.Context(
        command=command,
        data=data.name,
        fingerprint=data.fingerprint,
        protocol=protocol,
        variant=variant or "",
        seeds=list(evaluation.seeds),
        masked_kinds=evaluation.settings.masked_kinds,
        spam_share=evaluation.spam_share,
        new_products=arguments.new_products,
        reads_future=frozenset(name for name in evaluation.policies if class_of(name).reads_future),
        options=evaluation.options,
        notes=notes,
    )
    _report(result, context, arguments, terminal, screen)


def _report(
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
    leaves_one_out = arguments.protocol == "leave-one-out"
    if arguments.mapping is None and holds_sequences(file, settings, requested=leaves_one_out):
        if arguments.protocol not in (None, "leave-one-out"):
            raise Unusable(f"{file} holds sequences without times: only --protocol leave-one-out can judge on them")
        _refuse_spam(arguments)
        return "leave-one-out", read_sequences(file, settings)
    _refuse_variant(arguments)
    selection = selection_of(arguments)
    dataset = read_dataset(
        file, arguments.metadata, arguments.mapping, selection, environ, describing, screen, time.time_ns() // 1_000_000
    )
    if leaves_one_out:
        _refuse_spam(arguments)
        return "leave-one-out", sequences_of(dataset)
    return arguments.protocol or "prequential", dataset


def _listings(arguments: argparse.Namespace, data: Dataset | Sequences) -> list[Product]:
    """The products that are known before their first event."""
    if arguments.new_products == NEW_PRODUCTS[0]:
        return []
    if isinstance(data, Sequences):
        raise Unusable("--new-products: in leave-one-out nothing is new, since it has no times; leave it out")
    if not data.products:
        raise Unusable("--new-products needs to know what the products are: add --metadata, or leave it out")
    return data.products


def _refuse_variant(arguments: argparse.Namespace) -> None:
    if arguments.variant is not None and arguments.protocol != "leave-one-out":
        raise Unusable("--variant belongs to --protocol leave-one-out: give both, or neither")


def _refuse_spam(arguments: argparse.Namespace) -> None:
    if arguments.spam:
        raise Unusable("--spam needs times, and leave-one-out has none: leave it out, or choose another protocol")


def _stream_settings(arguments: argparse.Namespace, protocol: str, environ: Mapping[str, str]) -> StreamSettings:
    """The shop's own, where no option says otherwise; leave-one-out has no times and so no decay."""
    chosen: dict[str, object] = {}
    if protocol == "leave-one-out":
        chosen = {"history_length": LONG_HISTORY, "trending_half_life_days": NO_DECAY_DAYS}
    if arguments.history_length:
        chosen["history_length"] = arguments.history_length
    if arguments.masked_kinds is not None:
        chosen["masked_kinds"] = arguments.masked_kinds
    shop = load(ShopSettings, environ)
    return StreamSettings.model_validate({name: getattr(shop, name) for name in StreamSettings.model_fields} | chosen)


def _tried(arguments: argparse.Namespace) -> Tried:
    """Every combination of the values that --set gives a policy; each is checked."""
    given: dict[str, dict[str, list[Any]]] = {}
    for policy, option, values in arguments.settings:
        if policy not in arguments.policies:
            raise Unusable(f"--set {policy}.{option}: {policy} is not among --policies")
        given.setdefault(policy, {})[option] = values
    tried = {
        policy: [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
        for policy, options in given.items()
    }
    for policy, candidates in tried.items():
        for candidate in candidates:
            arguments_of(policy, candidate)
    return tried


def _chosen(
    evaluation: Evaluation,
    tried: Tried,
    states: Sequence[StateVector],
    end_ms: int,
    validation: Protocol,
    describing: Describing,
    screen: Terminal,
) -> tuple[Evaluation, list[str]]:
    """The evaluation with the settings that did best before a moment, and notes on the choice."""
    wanted = {policy: candidates for policy, candidates in tried.items() if len(candidates) > 1}
    if not wanted:
        return evaluation, []
    learned = [state for state in states if state.event_time_ms < end_ms]
    scores: dict[str, list[float]] = {policy: [] for policy in wanted}
    for number in range(max(map(len, wanted.values()))):
        options = {policy: candidates[number] for policy, candidates in wanted.items() if number < len(candidates)}
        one = replace(evaluation, policies=list(options), seeds=evaluation.seeds[:1], options=options, spam_share=0.0)
        result = on_stream(one, learned, describing, screen, validation)
        if not result.record.size:
            raise Unusable("the validation period holds no event to judge: give each option a single value")
        means = result.figures(evaluation.seeds[0]).policies if result.answers else {}
        for policy in options:
            scores[policy].append(means[policy][PRIMARY].mean if policy in means else float("-inf"))
    best = {policy: wanted[policy][reached.index(max(reached))] for policy, reached in scores.items()}
    notes = [
        f"{policy}: {_listed(options)}, the best of {len(wanted[policy])} tried in the validation period "
        f"({PRIMARY} {max(scores[policy]):.4f} there)."
        for policy, options in best.items()
    ]
    if len({len(tried.get(policy, [{}])) for policy in evaluation.policies}) > 1:
        notes.append("Policies were not given the same number of settings to try: the budgets are unequal.")
    chosen: Options = {**evaluation.options, **best}
    return replace(evaluation, options=chosen), notes


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
