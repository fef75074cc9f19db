"""The options of `freshet evaluate`: the command line, the command that repeats a run, and `--set` for each policy.

`freshet report` runs an evaluation with the same options. Imports stay light: `--help` waits for them.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import re
import shlex
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from replay import options
from shared.log.records import DEFAULT_MASKED_KINDS, masked_kinds_of
from shared.policies.registry import POLICIES, class_of
from shared.process.errors import Unusable

PROTOCOLS = ("prequential", "temporal", "split", "leave-one-out")
VARIANTS = ("strict", "all-but-last")  # of leave-one-out
NEW_PRODUCTS = ("unlisted", "listed", "placed")
LONG_HISTORY = 50  # events of a user that make the state in leave-one-out; elsewhere as the shop has it
DEFAULT_POLICIES = "trending,repeat,markov,vmis-knn,itemknn,ease,ials,bpr,freshet"

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add all that an evaluation takes."""
    options.add_dataset(
        parser, data="reviews, a shop's export, or a file of sequences", metadata="what the products cost"
    )
    parser.add_argument(
        "--policies", type=_policies, default=DEFAULT_POLICIES, metavar="NAME,NAME",
        help="all, or some of those below (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: prequential; for sequences leave-one-out")
    parser.add_argument(
        "--test", type=Path, metavar="FILE",
        help="of split: what is judged, read as DATA is, which alone is learned from; names the protocol by itself",
    )  # fmt: skip
    parser.add_argument(
        "--validation", type=Path, metavar="FILE",
        help="of split: what is judged likewise, with each of several values given with --set, to choose among them",
    )  # fmt: skip
    parser.add_argument("--variant", choices=VARIANTS, help="of leave-one-out: what is learned (default: strict)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="the first seed (default: %(default)s)")
    parser.add_argument(
        "--seeds", type=options.count, default=1, metavar="N",
        help="run under this many seeds, each one above the one before (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--masked-kinds", type=_masked_kinds, metavar="KIND,KIND",
        help="kinds of events after which a product is not recommended to the user again; '' for none, so that "
        f"repeats count (default: FRESHET_SHOP_MASKED_KINDS, {','.join(DEFAULT_MASKED_KINDS)} where it is not set)",
    )  # fmt: skip
    parser.add_argument(
        "--history-length", type=options.count, metavar="N",
        help="events of a user that make the state (default: FRESHET_SHOP_HISTORY_LENGTH, 20 where it is not set; "
        f"{LONG_HISTORY} in leave-one-out)",
    )  # fmt: skip
    parser.add_argument(
        "--spam", type=options.share, default=0.0, metavar="SHARE",
        help="add paid reviewers, this share of the users; policies learn from them and are not judged on them",
    )  # fmt: skip
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="POLICY.OPTION=VALUE", dest="settings",
        help="an argument of a policy; of several values, VALUE,VALUE, the best one in the validation period is taken: "
        "--warm-up, the temporal protocol's, or the file --validation",
    )  # fmt: skip
    parser.add_argument(
        "--new-products", choices=NEW_PRODUCTS, default=NEW_PRODUCTS[0], metavar="HOW",
        help="what a product of --metadata is before its first event: unlisted, not known (default); listed, a "
        "candidate from the beginning; placed, a candidate with a place that follows from what it is",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up", type=options.share, default=0.0, metavar="SHARE",
        help="of prequential: the share of the events that is learned and not judged; values given with --set are "
        "chosen on it",
    )  # fmt: skip
    options.add_selection(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures as JSON")
    parser.add_argument(
        "--parquet", type=Path, metavar="PATH", help="write a row per judged event, policy and seed as Parquet"
    )


def command_of(words: list[str], environ: Mapping[str, str]) -> str:
    """What to type to repeat a run, with the variables that decide how events are described and kept."""
    from shared.process.settings import prefix_of  # they take a while, which `--help` need not wait for
    from shared.state.shop import ShopSettings, StreamSettings

    kept_by = {f"{prefix_of(ShopSettings)}{field}".upper() for field in StreamSettings.model_fields}
    names = sorted(name for name in environ if name.startswith("FRESHET_FEATURES_") or name in kept_by)
    shaping = [f"{name}={shlex.quote(environ[name])}" for name in names]
    return " ".join([*shaping, shlex.join(["freshet", *words])])


def limit_threads() -> None:
    """Have numeric libraries use one thread, to repeat bit for bit; they read it when they are first imported."""
    for name in _THREADS:
        os.environ.setdefault(name, "1")


def arguments_of(policy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments for a policy's class.

    An option is one of these, a field of one (`whole.most`), or a field of the argument `settings`.

    Raises:
        Unusable: the policy has no such option, or refuses the value.
    """
    constructor = class_of(policy).__init__
    parameters = inspect.signature(constructor).parameters
    known = [name for name, parameter in parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    arguments: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    try:
        for option, value in options.items():
            name, _, field = option.partition(".")
            if field and dataclasses.is_dataclass(default := arguments.get(name, _default(parameters, name))):
                arguments[name] = dataclasses.replace(default, **{field: value})  # type: ignore[type-var]  # no class
            elif name in known and not field:
                arguments[name] = _validated(constructor, policy, name, value)
            elif "settings" in known and not field:
                fields[option] = value
            else:
                there_are = f"there are {', '.join(known)}" if known else f"{policy} has none"
                raise Unusable(f"--set {policy}.{option}: there is no such option; {there_are}")
        if fields:
            settings = next(kind for kind in _types_of(constructor, "settings") if kind is not type(None))
            if unknown := [name for name in fields if name not in settings.model_fields]:
                there_are = ", ".join(settings.model_fields)
                raise Unusable(f"--set {policy}.{unknown[0]}: there is no such option; there are {there_are}")
            arguments["settings"] = settings(**fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        option = ".".join(map(str, wrong["loc"]))
        raise Unusable(f"--set {policy}.{option}={wrong['input']}: {wrong['msg']}") from error
    except (TypeError, ValueError) as error:
        raise Unusable(f"--set {policy}: {error}") from error
    return arguments


def _validated(constructor: Any, policy: str, name: str, value: Any) -> Any:
    try:
        return TypeAdapter(typing.get_type_hints(constructor)[name]).validate_python(value)
    except ValidationError as error:
        raise Unusable(f"--set {policy}.{name}={value}: {error.errors()[0]['msg']}") from error


def _default(parameters: Mapping[str, inspect.Parameter], name: str) -> Any:
    return parameters[name].default if name in parameters else None


def _types_of(constructor: Any, name: str) -> tuple[Any, ...]:
    """The types that an argument may have."""
    hint = typing.get_type_hints(constructor)[name]
    return typing.get_args(hint) or (hint,)


# The texts of the command line as values; each function is an argparse `type`.


def _policies(text: str) -> list[str]:
    names = list(POLICIES) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in POLICIES]
    if unknown or not names:
        problem = f"no policy is called {unknown[0]!r}" if unknown else "names no policy"
        raise argparse.ArgumentTypeError(f"{problem}; there are {', '.join(POLICIES)}")
    return list(dict.fromkeys(names))


def _masked_kinds(text: str) -> str:
    try:
        masked_kinds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _setting(text: str) -> tuple[str, str, list[Any]]:
    match = re.fullmatch(r"([a-z0-9-]+)\.([a-z0-9_]+(?:\.[a-z0-9_]+)?)=(.+)", text.strip())
    if match is None or match[1] not in POLICIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not POLICY.OPTION=VALUE, such as markov.window=5")
    return match[1], match[2], [_value(part) for part in match[3].split(",")]


def _value(text: str) -> Any:
    for reading in (json.loads, float):  # JSON knows no .5
        try:
            return reading(text)
        except ValueError:
            continue
    return text
