"""What PromQL expressions of the dashboards and alerts name, and how Grafana fills in their variables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from services.monitoring import DASHBOARDS
from services.monitoring.panels import Dashboard

MONITORING = Path(__file__).parents[2] / "services" / "monitoring"
ALERTS = MONITORING / "alerts.yml"

_STRINGS = re.compile(r"\"[^\"]*\"|'[^']*'")
_NAMES = re.compile(r"\b(?:freshet[_:][a-z0-9_:]+|process_[a-z_]+)")
_VARIABLE = re.compile(r"\$(\w+)")


def names(expr: str) -> set[str]:
    """The metrics an expression names in full."""
    return set(_NAMES.findall(_STRINGS.sub('""', expr)))


def patterns(expr: str) -> set[str]:
    """The patterns it names metrics by."""
    return set(re.findall(r"__name__=~\"([^\"]+)\"", expr))


def fillings(expr: str, dashboard: Dashboard, **grafana: str) -> Iterator[str]:
    """The expression with every value of its variables; `grafana` holds what Grafana itself fills in."""
    offered = {v.name: (".*",) if isinstance(v.values, str) else v.values for v in dashboard.variables}
    offered |= {name: (value,) for name, value in grafana.items()}
    used = sorted(set(_VARIABLE.findall(expr)))
    for values in itertools.product(*(offered[name] for name in used)):
        chosen = dict(zip(used, values, strict=True))
        yield _VARIABLE.sub(lambda match, chosen=chosen: chosen[match[1]], expr)


def rules() -> list[dict[str, str]]:
    """Every recording and alerting rule."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterable[str]:
    """Every expression of panels, annotations and rules."""
    for dashboard in DASHBOARDS:
        yield from (mark.expr for mark in dashboard.marks)
        for panels in dashboard.sections.values():
            yield from (query.expr for panel in panels for query in panel.queries)
    yield from (rule["expr"] for rule in rules())
