"""What a Prometheus answers to everything that dashboards and rules ask."""

from __future__ import annotations

import re
from collections.abc import Collection

from services.monitoring import DASHBOARDS
from services.monitoring.panels import Dashboard
from tests.support.prometheus import Prometheus, finite
from tests.support.promql import expressions, fillings, names, patterns, rules


def unanswered(prometheus: Prometheus, *, rate_interval: str, may_be_empty: Collection[str] = ()) -> dict[str, str]:
    """The queries that no series answers, or none with a number whatever is chosen, by what is wrong.

    Args:
        rate_interval: what Grafana puts for `$__rate_interval`; four scrapes at least, as there.
        may_be_empty: queries that rightly show nothing where all is well.
    """
    wrong: dict[str, str] = {}
    for dashboard in DASHBOARDS:
        for panels in dashboard.sections.values():
            for query in (query for panel in panels for query in panel.queries if query.expr not in may_be_empty):
                filled = fillings(query.expr, dashboard, __rate_interval=rate_interval)
                answers = {expr: prometheus.values(expr) for expr in filled}
                wrong |= {expr: "no series" for expr, values in answers.items() if not values}
                if not any(map(finite, answers.values())):
                    wrong[query.expr] = "no number"
        wrong |= {mark.expr: "no mark" for mark in dashboard.marks if not finite(prometheus.values(mark.expr))}
        wrong |= _without_values(prometheus, dashboard)
    return wrong


def _without_values(prometheus: Prometheus, dashboard: Dashboard) -> dict[str, str]:
    """The variables of a dashboard that offer nothing."""
    wrong = {}
    for variable in dashboard.variables:
        if isinstance(variable.values, str):
            match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable.values)
            assert match is not None, variable.values
            if not prometheus.get(f"label/{match[2]}/values", **{"match[]": match[1]}):
                wrong[variable.values] = "no value"
    return wrong


def unknown(prometheus: Prometheus) -> set[str]:
    """The metrics that panels, marks and rules name, or record, and that do not exist."""
    existing = prometheus.names()
    named = set().union(*(names(expr) for expr in expressions())) | {r["record"] for r in rules() if "record" in r}
    named |= {
        pattern
        for expr in expressions()
        for pattern in patterns(expr)
        if not any(re.fullmatch(pattern, name) for name in existing)
    }
    return named - existing
