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

from replay.order.ordered_copy import Selection, selection_of
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

SPLIT_PRIMARY = "mrr@20"  # what Serenade's settings are chosen by

Tried = Mapping[str, list[dict[str, Any]]]  # policy → the settings to try, in order


def evaluate(
    arguments: argparse.Namespace, command: str, terminal: Terminal, screen: Terminal, environ: Mapping[str, str]
) -> None:
    """Judge policies, and report the figures.

    Raises:
        Unusable: what was given can't be used.
    """
    tried = _tried(arguments)
    requested = _requested(arguments)
    describing = Describing(environ)
    protocol, data = _read(arguments, requested, describing, screen, environ)
    if arguments.warm_up and protocol != "prequential":
        raise Unusable(f"--warm-up belongs to --protocol prequential, not to {protocol}: leave it out")
    chooses = protocol == "temporal" or arguments.warm_up or arguments.validation is not None
    if not chooses and any(len(candidates) > 1 for candidates in tried.values()):
        raise Unusable(
            "--set: to choose among several values takes a validation period: add --protocol temporal, or --warm-up, "
            "or with --test a file --validation"
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
    name, fingerprint, left_out, primary = data.name, data.fingerprint, data.left_out, PRIMARY
    if isinstance(data, Sequences):
        variant = chosen = arguments.variant or VARIANTS[0]
        result = on_sequences(evaluation, data, chosen, screen)
    elif protocol == "split":
        primary = SPLIT_PRIMARY
        halves = partial(protocols.split, learned=len(data.states))
        if arguments.validation is not None:
            chosen_on = _dataset(arguments, arguments.validation, Selection(), describing, screen, environ)
            both = data.states + chosen_on.states
            evaluation, notes = _chosen(evaluation, tried, both, halves, describing, screen, primary)
        judged = _dataset(arguments, arguments.test, Selection(), describing, screen, environ)
        name, fingerprint = f"{name}, judged on {judged.name}", f"{fingerprint}+{judged.fingerprint}"
        left_out += judged.left_out
        result = on_stream(evaluation, data.states + judged.states, describing, screen, halves)
    elif protocol == "temporal":
        moment_ms = protocols.moment_at(data.states, protocols.LEARNED_SHARE)
        validation_ms = protocols.moment_at(data.states, protocols.LEARNED_SHARE - protocols.VALIDATION_SHARE)
        validation = partial(protocols.temporal, moment_ms=validation_ms)
        before = [state for state in data.states if state.event_time_ms < moment_ms]
        evaluation, notes = _chosen(evaluation, tried, before, validation, describing, screen)
        temporal = partial(protocols.temporal, moment_ms=moment_ms)
        result = on_stream(evaluation, data.states, describing, screen, temporal)
    else:
        from_ms = protocols.moment_at(data.states, arguments.warm_up) if arguments.warm_up else 0
        before = [state for state in data.states if state.event_time_ms < from_ms]
        evaluation, notes = _chosen(evaluation, tried, before, protocols.prequential, describing, screen)
        if from_ms:
            notes.append(f"The first {arguments.warm_up:.0%} of the events are learned and not judged.")
        result = on_stream(evaluation, data.states, describing, screen, partial(protocols.prequential, from_ms=from_ms))
    if left_out:
        notes.append(
            "Events left out since they lie more than a day ahead of the clock, as features refuses them: "
            f"{left_out:,}."
        )
    if not result.record.size:
        raise Unusable(f"{name} leaves no event to judge: it needs users who come back, or fewer --masked-kinds")
    if not result.answers:
        raise Unusable(f"no policy could be fitted: {next(iter(result.failures.values()))}")
    context = report.Context(
        command=command,
        data=name,
        fingerprint=fingerprint,
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
    _report(result, context, arguments, terminal, screen, primary)


def _report(
    result: Result,
    context: report.Context,
    arguments: argparse.Namespace,
    terminal: Terminal,
    screen: Terminal,
    primary: str,
) -> None:
    screen.status("  drawing users anew for the intervals")
    figures, speeds = result.figures(arguments.seed, primary), result.speeds()
    screen.clear()
    for line in report.lines_of(result, figures, speeds, context):
        terminal.say(line)
    if arguments.json is not None:
        report.write_json(report.as_json(result, figures, speeds, context), arguments.json)
    if arguments.parquet is not None:
        report.write_parquet(result, context, arguments.parquet)


def _requested(arguments: argparse.Namespace) -> str | None:
    """The protocol that the options name; None: it follows from the data."""
    if arguments.test is None:
        if arguments.protocol == "split":
            raise Unusable("--protocol split judges another file than it learns from: add --test FILE")
        if arguments.validation is not None:
            raise Unusable("--validation belongs to --test FILE: give both, or use --warm-up to choose on DATA itself")
    elif arguments.protocol not in (None, "split"):
        raise Unusable(f"--test belongs to --protocol split, not to {arguments.protocol}: leave one of them out")
    elif arguments.spam:
        raise Unusable("--spam: with --test, spam would have to come before it; leave one of them out")
    return arguments.protocol if arguments.test is None else "split"


def _read(
    arguments: argparse.Namespace,
    requested: str | None,
    describing: Describing,
    screen: Terminal,
    environ: Mapping[str, str],
) -> tuple[str, Dataset | Sequences]:
    """The protocol, and what it runs on."""
    file: Path = arguments.data
    settings = load(ReplaySettings, environ)
    leaves_one_out = requested == "leave-one-out"
    if arguments.mapping is None and holds_sequences(file, settings, requested=leaves_one_out):
        if requested not in (None, "leave-one-out"):
            raise Unusable(f"{file} holds sequences without times: only --protocol leave-one-out can judge on them")
        _refuse_spam(arguments)
        return "leave-one-out", read_sequences(file, settings)
    _refuse_variant(arguments)
    dataset = _dataset(arguments, file, selection_of(arguments), describing, screen, environ)
    if leaves_one_out:
        _refuse_spam(arguments)
        return "leave-one-out", sequences_of(dataset)
    return requested or "prequential", dataset


def _dataset(
    arguments: argparse.Namespace,
    file: Path,
    selection: Selection,
    describing: Describing,
    screen: Terminal,
    environ: Mapping[str, str],
) -> Dataset:
    """A file of events, read as the options say DATA is."""
    now_ms = time.time_ns() // 1_000_000
    return read_dataset(file, arguments.metadata, arguments.mapping, selection, environ, describing, screen, now_ms)


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
    validation: Protocol,
    describing: Describing,
    screen: Terminal,
    primary: str = PRIMARY,
) -> tuple[Evaluation, list[str]]:
    """The evaluation with the settings that did best on the states by a validation, and notes on the choice."""
    wanted = {policy: candidates for policy, candidates in tried.items() if len(candidates) > 1}
    if not wanted:
        return evaluation, []
    scores: dict[str, list[float]] = {policy: [] for policy in wanted}
    for number in range(max(map(len, wanted.values()))):
        options = {policy: candidates[number] for policy, candidates in wanted.items() if number < len(candidates)}
        one = replace(evaluation, policies=list(options), seeds=evaluation.seeds[:1], options=options, spam_share=0.0)
        result = on_stream(one, states, describing, screen, validation)
        if not result.record.size:
            raise Unusable("the validation period holds no event to judge: give each option a single value")
        means = result.figures(evaluation.seeds[0], primary).policies if result.answers else {}
        for policy in options:
            scores[policy].append(means[policy][primary].mean if policy in means else float("-inf"))
    best = {policy: wanted[policy][reached.index(max(reached))] for policy, reached in scores.items()}
    notes = [
        f"{policy}: {_listed(options)}, the best of {len(wanted[policy])} tried in the validation period "
        f"({primary} {max(scores[policy]):.4f} there)."
        for policy, options in best.items()
    ]
    if len({len(tried.get(policy, [{}])) for policy in evaluation.policies}) > 1:
        notes.append("Policies were not given the same number of settings to try: the budgets are unequal.")
    chosen: Options = {**evaluation.options, **best}
    return replace(evaluation, options=chosen), notes


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())
