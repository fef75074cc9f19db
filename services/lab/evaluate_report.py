"""What `freshet evaluate` reports: tables for people, JSON and Parquet for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from services.lab.runs import Result
from shared.evaluation.contest import KS
from shared.evaluation.figures import (
    COLD_EVENTS,
    DRAWS,
    LEVEL,
    NETWORK,
    NEW_EVENTS,
    PRIMARY,
    SESSION_GAIN,
    SLICED,
    UNSEEN,
    Estimate,
    Figures,
    Speed,
    event_metrics,
)
from shared.model.single_experts import SINGLE_EXPERTS
from shared.policies.contract import Gauges
from shared.process.errors import Unusable
from shared.state.histories import USER_CLASSES

# With fewer products and fewer judged events nothing is claimed, and first places are shown, which say the most then.
LEAST_PRODUCTS, LEAST_JUDGED = 1_000, 5_000
LEAST_SEEDS = 3

_NAMES = 26  # columns
_SLICED_NAMES = 20  # beside so many numbers


@dataclass(frozen=True, slots=True)
class Context:
    """What the figures are of."""

    command: str
    data: str
    fingerprint: str
    protocol: str
    variant: str  # of leave-one-out, else empty
    seeds: list[int]
    masked_kinds: str
    spam_share: float
    new_products: str  # as --new-products has it
    reads_future: frozenset[str]
    options: Mapping[str, Mapping[str, Any]]
    notes: list[str]


def is_small(result: Result, figures: Figures) -> bool:
    """Whether a set is too small to claim anything on it."""
    return result.products < LEAST_PRODUCTS and figures.judged < LEAST_JUDGED


def lines_of(result: Result, figures: Figures, speeds: Mapping[str, Speed], context: Context) -> Iterator[str]:
    """The whole report, for a terminal."""
    yield from _head(result, figures, context)
    parts = (
        _accuracy(result, figures, context),
        _differences(result, figures, context),
        _network(figures),
        _experts(figures),
        _regrets(figures),
        _breadth(figures, context),
        _slices(figures),
        _unseen(figures, context),
        _speeds(speeds),
        _parts(result),
        _notes(result, figures, context),
    )
    for part in parts:
        lines = list(part)
        yield from ["", *lines] if lines else []
    yield f"seed{'s' if len(context.seeds) > 1 else ''} {', '.join(map(str, context.seeds))}; command:"
    yield f"  {context.command}"


def _head(result: Result, figures: Figures, context: Context) -> Iterator[str]:
    what = f"{context.protocol}, {context.variant}: leaky" if context.variant else context.protocol
    yield f"{context.data}: {what}"
    yield f"{result.events:,} events of {result.users:,} users on {result.products:,} products were learned from."
    unknown = result.record.unknown / max(1, figures.judged)
    left_out = ", ".join(f"{count:,} {why}" for why, count in sorted(result.record.not_judged.items()))
    yield (
        f"{figures.judged:,} events judged, each over the whole catalogue; {unknown:.1%} on products not known before, "
        "a miss for all."
    )
    yield f"Not judged: {left_out or 'none'}. Masked kinds: {context.masked_kinds or 'none, so repeats count'}."
    if context.new_products != "unlisted":
        placed = ", placed by what they are" if context.new_products == "placed" else ""
        yield f"Products of the metadata are candidates from the beginning{placed}."
    if context.spam_share:
        yield f"Spam: paid reviewers, {context.spam_share:.1%} of the users, praise {len(result.promoted)} products."


def _accuracy(result: Result, figures: Figures, context: Context) -> Iterator[str]:
    k = 5 if is_small(result, figures) else 10
    metrics, bounded = [f"hr@{k}", f"ndcg@{k}", "mrr", f"precision@{k}", f"recall@{k}"], f"ndcg@{k}"
    if context.protocol == "split":
        metrics, bounded = ["mrr@20", "hr@20", "ndcg@20", SESSION_GAIN], figures.primary
    elif k == 5:
        metrics = ["hr@1", *metrics[:3]]
    wide = _wide(result, context)
    heads = "".join(f"{metric:>{_width(metric)}}" for metric in metrics)
    yield _row("policy", heads + f"   {f'{bounded} between':>17}", wide)
    for name in _by_accuracy(figures):
        estimates = figures.policies[name]
        bounds = f"{estimates[bounded].low:.4f} … {estimates[bounded].high:.4f}"
        row = "".join(f"{estimates[metric].mean:>{_width(metric)}.4f}" for metric in metrics)
        yield _row(_named(name, context), f"{row}   {bounds:>17}", wide)
    for name, why in result.failures.items():
        yield _row(_named(name, context), f"  n/a: {why}", wide)


def _differences(result: Result, figures: Figures, context: Context) -> Iterator[str]:
    if not figures.differences:
        return
    wide = _wide(result, context)
    yield _row(f"{figures.primary}, beside {figures.best_baseline}", f"{'above':>9}{'between':>23}{'p':>10}", wide)
    for name in _by_accuracy(figures):
        if name in figures.differences:
            difference = figures.differences[name]
            bounds = f"{difference.low:+.4f} … {difference.high:+.4f}"
            yield _row(_named(name, context), f"{difference.mean:>+9.4f}{bounds:>23}{difference.p:>10.4f}", wide)


def _network(figures: Figures) -> Iterator[str]:
    """What the network adds: a policy beside itself without."""
    if figures.network is not None:
        whole, without = NETWORK
        yield _row(f"{whole} beside {without}", f"{'above':>9}{'between':>23}{'p':>10}")
        bounds = f"{figures.network.low:+.4f} … {figures.network.high:+.4f}"
        yield _row("the network adds", f"{figures.network.mean:>+9.4f}{bounds:>23}{figures.network.p:>10.4f}")


def _experts(figures: Figures) -> Iterator[str]:
    experts = figures.experts
    if experts is None:
        return
    head = f"{figures.primary:>9}{f'{experts.mixing} above':>15}{'between':>20}{'p':>10}"
    yield _row("one expert alone", head)
    for name in sorted(experts.estimates, key=lambda name: -experts.estimates[name].mean):
        difference = experts.differences[name]
        bounds = f"{difference.low:+.4f} … {difference.high:+.4f}"
        row = f"{experts.estimates[name].mean:>9.4f}{difference.mean:>+15.4f}{bounds:>20}{difference.p:>10.4f}"
        yield _row(name, row)


def _regrets(figures: Figures) -> Iterator[str]:
    experts = figures.experts
    if experts is None:
        return
    yield _row("regret after", f"{experts.mixing:>9}{'best expert so far':>31}{'regret':>10}")
    for regret in experts.regrets:
        best = f"{regret.best:>22}{regret.expert:>9.4f}"
        yield _row(f"{regret.events:>11,} events", f"{regret.mixing:>9.4f}{best}{regret.regret:>+10.4f}")


def _breadth(figures: Figures, context: Context) -> Iterator[str]:
    promoted = f"{'promoted':>10}" if context.spam_share else ""
    head = f"{'coverage':>10}{'novelty':>10}{'Gini':>8}{'lower half':>13}{'top tenth':>12}{promoted}"
    yield _row("the first 10 shown", head)
    for name in _by_accuracy(figures):
        catalogue = figures.catalogue[name]
        promoted = f"{catalogue.promoted:>10.2%}" if context.spam_share else ""
        novelty = figures.policies[name]["novelty"].mean
        row = f"{catalogue.coverage['coverage@10']:>10.4f}{novelty:>10.2f}{catalogue.gini:>8.3f}"
        yield _row(name, f"{row}{sum(catalogue.recommended[:5]):>13.1%}{catalogue.recommended[-1]:>12.1%}{promoted}")
    consumed = f"{sum(figures.consumed[:5]):>13.1%}{figures.consumed[-1]:>12.1%}"
    yield _row("what users chose", f"{'':>28}{consumed}")


def _slices(figures: Figures) -> Iterator[str]:
    parts = [part for part in figures.slices if not part[0].isdigit()]  # those are for machines
    wide = max(_SLICED_NAMES, 1 + max(map(len, figures.policies)))
    which, of = zip(*(part.split() for part in parts), strict=True)
    yield _row(PRIMARY, "".join(f"{word:>11}" for word in which), wide)
    yield _row("", "".join(f"{word:>11}" for word in of), wide)
    yield _row("events", "".join(f"{figures.slice_events[part]:>11,}" for part in parts), wide)
    for name in _by_accuracy(figures):
        means = (figures.slices[part][name][PRIMARY].mean for part in parts)
        yield _row(name, "".join(f"{mean:>11.4f}" for mean in means), wide)


def _unseen(figures: Figures, context: Context) -> Iterator[str]:
    if context.new_products == "unlisted" or UNSEEN not in figures.slices:
        return
    metrics = (*SLICED[1:], PRIMARY)
    events = f"of {figures.slice_events[UNSEEN]:,} first events"
    yield _row(events, "".join(f"{metric:>{_width(metric)}}" for metric in metrics))
    for name in _by_accuracy(figures):
        estimates = figures.slices[UNSEEN][name]
        yield _row(name, "".join(f"{estimates[metric].mean:>{_width(metric)}.4f}" for metric in metrics))


def _speeds(speeds: Mapping[str, Speed]) -> Iterator[str]:
    yield _row("speed of this run", f"{'rank p50':>13}{'rank p99':>13}{'learned/s':>13}")
    for name, speed in speeds.items():
        ranking = f"{speed.rank_p50_ms:>10.3f} ms{speed.rank_p99_ms:>10.3f} ms"
        yield _row(name, f"{ranking}{speed.updates_per_second:>13,.0f}")


def _parts(result: Result) -> Iterator[str]:
    """What share of its score each part of a policy had at the end: a part without any has proven nothing."""
    for name, runs in result.parts.items():
        each = ", ".join(f"{part} {share:.1%}" for part, share in _mean_parts(runs, "mixture").items())
        yield f"{name}: the mixture after {result.updates[name] // len(runs):,} events: {each};"
        heads = ", ".join(f"{weight:.2f} · {head}" for head, weight in _mean_parts(runs, "heads").items())
        events = sum(gauges.validated for gauges in runs) // len(runs)
        yield f"  beside its logarithm the heads {heads}, chosen on the last {events:,} events that validated."
        shares = ", ".join(f"{part} {share:.1%}" for part, share in _mean_parts(runs, "shares").items())
        weighted = ", ".join(f"{head} {share:.1%}" for head, share in _mean_parts(runs, "weighted").items())
        yield f"  of the score among candidates: {shares}; events at which a head had a weight: {weighted}."


def _mean_parts(runs: Sequence[Gauges], what: Literal["mixture", "heads", "shares", "weighted"]) -> dict[str, float]:
    """The mean over runs of each part's weight."""
    of_runs: list[Mapping[str, float]] = [getattr(gauges, what) for gauges in runs]
    return {part: sum(weights[part] for weights in of_runs) / len(of_runs) for part in of_runs[0]}


def _notes(result: Result, figures: Figures, context: Context) -> Iterator[str]:
    yield f"between: {LEVEL:.0%} of {DRAWS:,} draws of users, the same for all; p corrected for several (Holm)."
    yield "lower half, top tenth: share of the places shown that went to the less popular half of the products, and to"
    yield "the most popular tenth."
    if figures.experts is not None:
        yield f"one expert alone: each part of the mixture of {figures.experts.mixing}. regret: how far the best single"
        yield "one of the events so far is above the mixture on them; below 0 the mixture is ahead."
    yield f"cold: fewer than {COLD_EVENTS} events before, new: fewer than {NEW_EVENTS}. novelty: bits."
    if is_small(result, figures):
        yield (
            f"Fewer than {LEAST_PRODUCTS:,} products and {LEAST_JUDGED:,} judged events: the set is too small to "
            "claim anything."
        )
    elif len(context.seeds) < LEAST_SEEDS:
        yield f"Fewer than {LEAST_SEEDS} seeds: nothing is claimed. --seeds {LEAST_SEEDS} runs that many."
    if context.variant:
        yield "Leave-one-out learns what others did later before it judges: it is leaky, and only to stand beside"
        yield "published figures."
    if context.protocol == "split":
        yield f"A user's first event is not judged. {SESSION_GAIN}: all that the user chose from then on is right."
    yield from context.notes


def _by_accuracy(figures: Figures) -> list[str]:
    return sorted(figures.policies, key=lambda name: -figures.policies[name][figures.primary].mean)


def _named(name: str, context: Context) -> str:
    marks = [context.variant] if context.variant else []
    if name in context.reads_future:
        marks.append("reads the future")
    return f"{name} ({', '.join(marks)})" if marks else name


def _row(name: str, rest: str, wide: int = _NAMES) -> str:
    return f"{name:<{wide}}{rest}"


def _wide(result: Result, context: Context) -> int:
    """So that the longest name, with its marks, has room."""
    names = (*result.answers, *result.failures)
    return max(_NAMES, max(len(_named(name, context)) for name in names) + 1)


def _width(metric: str) -> int:
    return max(9, len(metric) + 2)


def as_json(result: Result, figures: Figures, speeds: Mapping[str, Speed], context: Context) -> dict[str, Any]:
    """Everything, for machines. All but `speed` is the same whenever the same command runs on the same data."""
    document = {
        "command": context.command,
        "data": {
            "name": context.data,
            "fingerprint": context.fingerprint,
            "events": result.events,
            "users": result.users,
            "products": result.products,
        },
        "protocol": context.protocol,
        "variant": context.variant or None,
        "leaky": bool(context.variant),
        "seeds": context.seeds,
        "masked_kinds": context.masked_kinds,
        "spam": context.spam_share,
        "new_products": context.new_products,
        "options": context.options,
        "level": LEVEL,
        "judged": figures.judged,
        "questions": figures.questions,
        "unknown_products": result.record.unknown / max(1, figures.judged),
        "not_judged": result.record.not_judged,
        "policies": {name: _estimates(values) for name, values in figures.policies.items()},
        "not_available": result.failures,
        "reads_future": sorted(context.reads_future),
        "best_baseline": figures.best_baseline,
        f"{figures.primary} above the best baseline": {
            name: asdict(values) for name, values in figures.differences.items()
        },
        "network": None if figures.network is None else asdict(figures.network),
        **_experts_as_json(figures),
        "slices": {
            part: {
                "events": figures.slice_events[part],
                "policies": {name: _estimates(values) for name, values in policies.items()},
            }
            for part, policies in figures.slices.items()
        },
        "catalogue": {name: asdict(values) for name, values in figures.catalogue.items()},
        "consumed": figures.consumed,
        "promoted": result.promoted,
        "parts": {
            name: {
                "mixture": _mean_parts(runs, "mixture"),
                "heads": _mean_parts(runs, "heads"),
                "shares": _mean_parts(runs, "shares"),
                "weighted": _mean_parts(runs, "weighted"),
                "events": result.updates[name] // len(runs),
                "validated": sum(gauges.validated for gauges in runs) // len(runs),
            }
            for name, runs in result.parts.items()
        },
        "claims": not is_small(result, figures) and len(context.seeds) >= LEAST_SEEDS,
        "notes": context.notes,
        "speed": {name: asdict(values) for name, values in speeds.items()},
    }
    return {key: _finite(value) for key, value in document.items()}


def _experts_as_json(figures: Figures) -> dict[str, Any]:
    """`experts` and `regret`; null where no policy mixes experts."""
    experts = figures.experts
    if experts is None:
        return {"experts": None, "regret": None}
    return {
        "experts": {
            "of": experts.mixing,
            "best": experts.best,
            figures.primary: _estimates(experts.estimates),
            f"{experts.mixing} above": {name: asdict(difference) for name, difference in experts.differences.items()},
        },
        "regret": [asdict(regret) | {"regret": regret.regret} for regret in experts.regrets],
    }


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write it to a file, which appears whole.

    Raises:
        Unusable: it can't be written.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror}); name another file") from error


def write_parquet(result: Result, context: Context, path: Path) -> None:
    """Write a row per judged event, policy and run of it.

    Raises:
        Unusable: it can't be written.
    """
    events = result.record.events
    users = np.array(result.record.users, dtype=object)
    products = np.array([*result.product_ids, ""], dtype=object)  # the last is that of a product not known before
    shared = pd.DataFrame(
        {
            "sequence": events["sequence"],
            "event_time": pd.to_datetime(events["event_time_ms"], unit="ms", utc=True),
            "user": users[events["user"]],
            "product": products[events["product"]],
            "question": events["question"],
            "user_events": events["user_events"],
            "product_events": events["product_events"],
            "user_class": np.array(USER_CLASSES, dtype=object)[events["user_class"]].astype(str),
            **{
                f"place@{name}": places
                for name, places in zip(SINGLE_EXPERTS, result.record.experts.T, strict=True)
                if result.record.mixing
            },
        }
    )
    frames = []
    for name, runs in result.answers.items():
        for seed, run in zip(context.seeds, runs, strict=False):
            metrics = event_metrics(run.place)
            frames.append(
                shared.assign(
                    policy=name, seed=seed, place=run.place, **metrics, novelty=run.bits,
                    **{f"in_set@{k}": run.in_set[:, i] for i, k in enumerate(KS)},
                )
            )  # fmt: skip
    try:
        pd.concat(frames, ignore_index=True).to_parquet(path, index=False)
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror or error}); name another file") from error


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {metric: asdict(estimate) for metric, estimate in estimates.items()}


def _finite(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value
