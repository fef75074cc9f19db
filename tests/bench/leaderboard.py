"""Makes the leaderboards of docs/results.md anew: runs `freshet evaluate` on each set, keeps its JSON, shows tables.

    python -m tests.bench.leaderboard [NAME …] [--table]

Needs the datasets of FRESHET_TEST_DATA; `freshet data fetch` has most of them. All takes hours on one core; what was
made lies in tests/bench/results, and --table shows it without running anything.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.__main__ import DATA

RESULTS = Path(__file__).parent / "results"
METRIC = "ndcg@10"

# What baselines of counts can be told is chosen on the first half of a stream; `freshet` is told nothing.
CHOSEN = [
    "--warm-up", "0.5", "--seeds", "3",
    "--set", "markov.popularity_weight=0.001,0.1,0.3,0.5,0.7,0.9",
    "--set", "vmis-knn.popularity_weight=0.001,0.1,0.5", "--set", "vmis-knn.last=1,4",
]  # fmt: skip
COUNTED = "trending,repeat,markov,vmis-knn,freshet,mixture"
# The weight that the first half of Musical Instruments chose, on its whole stream.
SPARE, POPULAR = "trending,markov,vmis-knn,freshet,mixture", ["--set", "markov.popularity_weight=0.9"]
# On whole sequences, and of counts there: chosen by the last products but one.
SEQUENCES = "trending,markov,markov-sasrec"
ROOT = ["--set", "markov.power=0.5", "--set", "markov.shrink=5"]
ALL_BUT_LAST = ["--variant", "all-but-last"]
BEAUTY = Path("beauty-sequences/Beauty.txt.gz")


@dataclass(frozen=True, slots=True)
class Run:
    """One `freshet evaluate`."""

    title: str
    data: Path  # in the folder of datasets
    policies: str
    words: Sequence[str]
    mapping: str = ""  # which column is what, where the file does not say


STARS = "[columns]\nuser = 1\nproduct = 2\nrating = 3\ntime = 4\n[file]\nheader = false\n"
SESSIONS = (
    '[columns]\nuser = "SessionId"\nproduct = "ItemId"\ntime = "Time"\n[file]\ndelimiter = "\\t"\n'
    '[time]\nformat = "seconds"\n[kind]\ndefault = "click"\n'
)
MUSIC = Path("amazon-2014/Musical_Instruments_5.json.gz")
RUNS = {
    "musical-instruments": Run("Musical Instruments 2014", MUSIC, COUNTED, CHOSEN),
    "musical-instruments-temporal": Run(
        "Musical Instruments 2014", MUSIC, COUNTED, ["--protocol", "temporal", *CHOSEN[2:]]
    ),
    "musical-instruments-whole": Run("Musical Instruments 2014, whole", MUSIC, SPARE, POPULAR),
    "musical-instruments-spam": Run("Musical Instruments 2014, 5 % spam", MUSIC, SPARE, [*POPULAR, "--spam", "0.05"]),
    "tablets": Run("Tablets", Path("tablets/reviews_tablets.json.gz"), COUNTED, CHOSEN),
    "online-retail": Run(
        "Online Retail, a tenth of the users", Path("online-retail/online_retail_541909.csv.gz"), COUNTED,
        [*CHOSEN, "--users-sample", "0.1"],
    ),
    "taobao": Run(
        "Taobao, three tenths of the users", Path("taobao/UserBehavior_users815_84475.csv.gz"), COUNTED,
        [*CHOSEN, "--users-sample", "0.3"],
    ),
    "movielens": Run(
        "MovieLens 100k", Path("movielens-100k/u.data.tsv.gz"), COUNTED, CHOSEN, STARS
    ),
    "serenade": Run("Serenade's train.txt", Path("serenade/train.txt.gz"), COUNTED, CHOSEN, SESSIONS),
    "gift-cards": Run("Gift Cards 2018", Path("amazon-2018/Gift_Cards_5.json.gz"), COUNTED, []),
    "all-beauty": Run("All Beauty 2018", Path("amazon-2018/All_Beauty_5.json.gz"), COUNTED, []),
    "fashion": Run("Fashion 2018", Path("amazon-2018/AMAZON_FASHION_5.json.gz"), COUNTED, []),
    "fine-foods": Run(
        "Fine Foods, first 5,003", Path("finefoods/Reviews_first5k.csv.gz"), COUNTED, []
    ),
    "beauty-strict": Run("Beauty 2014", BEAUTY, SEQUENCES, ROOT),
    "beauty-all-but-last": Run("Beauty 2014", BEAUTY, SEQUENCES, [*ROOT, *ALL_BUT_LAST]),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run some, show all that there are."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.leaderboard",
        description=__doc__,
        epilog=f"names: {', '.join(RUNS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*RUNS, []], help="which; default: all")
    parser.add_argument("--table", action="store_true", help="run nothing, show what was made")
    given = parser.parse_args(arguments)
    if not given.table:
        for name in given.names or RUNS:
            print(f"leaderboard: {name}", file=sys.stderr)
            _make(name, RUNS[name])
    made = {name: json.loads(path.read_text()) for name in RUNS if (path := RESULTS / f"{name}.json").is_file()}
    print("\n".join(table(made)))
    return 0


def _make(name: str, run: Run) -> None:
    """Run one where its data lies, so that the command holds no folder of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / run.data.name).symlink_to(DATA / run.data)
        if run.mapping:
            (here / f"{name}.toml").write_text(run.mapping)
        named = ["--mapping", f"{name}.toml"] if run.mapping else []
        words = [sys.executable, "-m", "services.console", "evaluate", run.data.name, "--policies", run.policies]
        root = Path(__file__).parents[2]
        environ = os.environ | {"PYTHONPATH": str(root)}
        subprocess.run([*words, *named, *run.words, "--json", f"{name}.json"], cwd=here, env=environ, check=True)
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(here / f"{name}.json", RESULTS)


def table(made: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The two tables of docs/results.md."""
    lines = ["| data | protocol | judged | best baseline | freshet | difference | p | seeds |", "|" + "---|" * 8]
    for name, entry in made.items():
        if entry["protocol"] == "leave-one-out":
            continue
        best = entry["best_baseline"]
        lines.append(
            f"| {RUNS[name].title} | {entry['protocol']} | {entry['judged']:,} | {best} {_of(entry['policies'][best])} "
            f"| {_of(entry['policies']['freshet'])} | {_difference(entry)} | {len(entry['seeds'])} |"
        )
    variants = [entry for entry in made.values() if entry["protocol"] == "leave-one-out"]
    if variants:
        lines += [
            "",
            f"| | {' | '.join(entry['variant'] for entry in variants)} |",
            "|---|" + "---|" * len(variants),
        ]
        policies = sorted(variants[0]["policies"], key=lambda policy: variants[0]["policies"][policy][METRIC]["mean"])
        for policy in policies:
            cells = [
                f"{_of(values[policy], 'hr@10')} / {_of(values[policy])}" if policy in values else ""
                for values in (entry["policies"] for entry in variants)
            ]
            lines.append(f"| {policy} | {' | '.join(cells)} |")
    return lines


def _of(policy: Mapping[str, Any], metric: str = METRIC) -> str:
    return f"{policy[metric]['mean']:.4f}".lstrip("0")


def _difference(entry: Mapping[str, Any]) -> str:
    values = entry[f"{METRIC} above the best baseline"]["freshet"]
    return f"{values['mean']:+.4f} ({values['low']:+.4f} … {values['high']:+.4f}) | {values['p']:.3f}"


if __name__ == "__main__":
    sys.exit(main())
