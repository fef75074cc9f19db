"""What a dashboard is made of, and Grafana's JSON for it (classic model, schema 41, Grafana 12). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
SCHEMA_VERSION = 41
COLUMNS = 24

GREEN, YELLOW, RED = "green", "#EAB839", "red"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` may name labels as `{{label}}`."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question and the queries that answer it."""

    title: str  # the question
    about: str  # what is shown, and what to do where it looks wrong
    unit: str  # one of Grafana's ids, or "suffix:…"
    queries: Sequence[Query]
    empty: str  # shown while there is nothing to show: why that may be so
    kind: Literal["timeseries", "stat", "heatmap"] = "timeseries"
    width: int = 8
    height: int = 8
    minimum: float | None = 0.0  # of the axis; None: as the values have it
    maximum: float | None = None
    steps: Sequence[tuple[float, str]] = ()  # from this value on, this colour; below the first of them, green
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # value → (text, colour)
    stacked: bool = False
    logarithmic: bool = False
    decimals: int | None = None

    def to_json(self, number: int, x: int, y: int) -> Json:
        """The panel at one place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [self._target(query, place) for place, query in enumerate(self.queries)],
        }

    def _defaults(self) -> Json:
        # A share of nothing is NaN, which would be shown as such.
        nothing = {"type": "special", "options": {"match": "null+nan", "result": {"text": self.empty, "index": 0}}}
        named = {
            value: {"text": text, "color": colour, "index": place}
            for place, (value, (text, colour)) in enumerate(self.names.items(), start=1)
        }
        defaults: Json = {
            "unit": self.unit,
            "noValue": self.empty,
            "mappings": [nothing, *([{"type": "value", "options": named}] if named else [])],
            "thresholds": {
                "mode": "absolute",
                "steps": [
                    {"color": GREEN, "value": None},
                    *({"color": colour, "value": value} for value, colour in self.steps),
                ],
            },
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
        }
        limits = {"min": self.minimum, "max": self.maximum, "decimals": self.decimals}
        defaults |= {name: value for name, value in limits.items() if value is not None}
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 8,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "scaleDistribution": {"type": "log", "log": 10} if self.logarithmic else {"type": "linear"},
                "thresholdsStyle": {"mode": "line" if self.steps else "off"},
            }
        return defaults

    def _target(self, query: Query, place: int) -> Json:
        return {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "editorMode": "code",
            "format": "heatmap" if self.kind == "heatmap" else "time_series",
            "instant": self.kind == "stat",
            "range": self.kind != "stat",
        }


_OPTIONS: Mapping[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value_and_name",
        "wideLayout": True,
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 32, "scale": "linear", "exponent": 1, "reverse": False},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"axisPlacement": "left"},
    },
}


@dataclass(frozen=True, slots=True)
class TemplateVariable:
    """What whoever looks may choose; `values` are given, or are those of a label: `label_values(metric, label)`."""

    name: str
    label: str
    values: Sequence[str] | str

    def to_json(self) -> Json:
        """The variable; one of a label begins with all, one of given values with the first."""
        if isinstance(self.values, str):
            return {
                "type": "query",
                "name": self.name,
                "label": self.label,
                "datasource": DATASOURCE,
                "definition": self.values,
                "query": {"query": self.values, "refId": f"values-{self.name}", "qryType": 5},
                "refresh": 2,  # as the time range changes
                "sort": 1,
                "multi": True,
                "includeAll": True,
                "allValue": ".*",
                "current": {"text": ["All"], "value": ["$__all"]},
                "options": [],
            }
        first = self.values[0]
        return {
            "type": "custom",
            "name": self.name,
            "label": self.label,
            "query": ",".join(self.values),
            "multi": False,
            "includeAll": False,
            "current": {"text": first, "value": first},
            "options": [{"text": value, "value": value, "selected": value == first} for value in self.values],
        }


@dataclass(frozen=True, slots=True)
class Marks:
    """Annotations: `expr` gives Unix times in ms."""

    name: str
    expr: str
    title: str
    colour: str

    def to_json(self) -> Json:
        """The annotation query; a time that stays the same is one mark."""
        return {
            "name": self.name,
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": self.colour,
            "target": {"refId": "Anno", "expr": self.expr, "interval": ""},
            "titleFormat": self.title,
            "textFormat": "",
            "tagKeys": "",
            "useValueForTime": "on",
        }


VERSIONS = Marks("Model versions", "freshet_trainer_version_time_seconds * 1000 > 0", "A new model version", "blue")
STARTS = Marks("Starts", '{__name__=~"freshet_.+_started_time_seconds"} * 1000', "{{job}} started", "orange")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Sections of panels, each laid out from left to right."""

    uid: str
    title: str
    about: str
    sections: Mapping[str, Sequence[Panel]]
    variables: Sequence[TemplateVariable] = ()
    marks: Sequence[Marks] = (STARTS,)

    def to_json(self) -> Json:
        """What Grafana reads."""
        return {
            "uid": self.uid,
            "title": f"Freshet: {self.title}",
            "description": self.about,
            "tags": ["freshet"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,  # one crosshair for all panels
            "refresh": "5s",
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "browser",
            "templating": {"list": [variable.to_json() for variable in self.variables]},
            "annotations": {"list": [mark.to_json() for mark in self.marks]},
            "links": [
                {"type": "dashboards", "title": "Freshet", "tags": ["freshet"], "asDropdown": False, "keepTime": True}
            ],
            "panels": self._placed(),
        }

    def _placed(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for section, panels in self.sections.items():
            placed.append(
                {
                    "id": len(placed) + 1,
                    "type": "row",
                    "title": section,
                    "collapsed": False,
                    "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
                    "panels": [],
                }
            )
            x, y, deepest = 0, y + 1, 0
            for panel in panels:
                if x + panel.width > COLUMNS:
                    x, y, deepest = 0, y + deepest, 0
                placed.append(panel.to_json(len(placed) + 1, x, y))
                x, deepest = x + panel.width, max(deepest, panel.height)
            y += deepest
        return placed
