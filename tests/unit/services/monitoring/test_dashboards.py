"""The dashboards as Grafana reads them: written whole, complete, laid out, naming what exists."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from replay.metrics import ReplayMetrics
from services.evaluator.accuracy import EvaluatorMetrics
from services.features.stream import FeaturesMetrics
from services.gateway.metrics import GatewayMetrics
from services.inference.metrics import InferenceMetrics
from services.lab.crowd import CrowdMetrics
from services.monitoring import DASHBOARDS
from services.monitoring.__main__ import main
from services.monitoring.panels import COLUMNS, DATASOURCE, Dashboard
from services.trainer.metrics import TrainerMetrics
from shared.process.telemetry import new_registry
from tests.support.promql import MONITORING, expressions, fillings, names, rules

# Of Grafana's ids, those used here: packages/grafana-data/src/valueFormats/categories.ts.
UNITS = {"none", "short", "percentunit", "s", "dtdurations", "eps", "recps", "reqps", "ops", "bytes"}
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    return [panel for panel in dashboard.to_json()["panels"] if panel["type"] != "row"]


def test_each_is_written_as_a_file_of_its_own_and_again_over_an_older_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "of" / "grafana"
    assert main(["--output", str(folder)]) == 0
    files = {f"{dashboard.uid}.json": dashboard for dashboard in DASHBOARDS}
    (folder / "freshet-overview.json").write_text("older")
    assert main(["--output", str(folder)]) == 0
    assert {file.name for file in folder.iterdir()} == set(files), "nothing half written stays"
    assert set(capsys.readouterr().out.split()) == {str(folder / name) for name in files}
    for name, dashboard in files.items():
        assert json.loads((folder / name).read_text(encoding="utf-8")) == dashboard.to_json()


def test_a_folder_that_can_not_be_written_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main(["--output", str(tmp_path / "file")]) == 1
    assert "choose another --output" in capsys.readouterr().err


@every_dashboard
def test_a_panel_asks_a_question_and_says_what_is_shown_and_why_nothing_may_be(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"].endswith("?"), panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"] in UNITS or defaults["unit"].startswith("suffix:"), panel["title"]
        assert defaults["noValue"], panel["title"]
        assert defaults["mappings"][0]["options"]["result"]["text"] == defaults["noValue"]
        assert panel["targets"], panel["title"]
        assert all(target["expr"] and target["legendFormat"] for target in panel["targets"]), panel["title"]
        assert panel["datasource"] == DATASOURCE


@every_dashboard
def test_the_steps_of_a_colour_climb(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        first, *steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert first["value"] is None, "the base, which Grafana takes for minus infinity"
        assert [step["value"] for step in steps] == sorted(step["value"] for step in steps)


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    return (
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )


@every_dashboard
def test_panels_lie_beside_one_another_within_the_grid(dashboard: Dashboard) -> None:
    placed = dashboard.to_json()["panels"]
    assert len({panel["id"] for panel in placed}) == len(placed)
    for panel in placed:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS, panel["title"]
    for one, other in itertools.combinations(placed, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def test_titles_and_ids_are_each_used_once() -> None:
    titles = [panel["title"] for dashboard in DASHBOARDS for panel in panels(dashboard)]
    assert len({d.uid for d in DASHBOARDS}) == len({d.title for d in DASHBOARDS}) == len(DASHBOARDS) == 4
    for dashboard in DASHBOARDS:
        of_one = [panel["title"] for panel in panels(dashboard)]
        assert len(of_one) == len(set(of_one))
    assert len(titles) > 40


def test_every_metric_that_is_named_exists() -> None:
    registry = new_registry()
    for metrics in (EvaluatorMetrics, FeaturesMetrics, GatewayMetrics, InferenceMetrics, TrainerMetrics):
        metrics(registry)
    ReplayMetrics(registry).events()
    CrowdMetrics(registry)
    families = list(registry.collect())
    existing = {sample.name for family in families for sample in family.samples}
    existing |= {family.name for family in families if family.type == "gauge"}  # a labelled one begins empty
    existing |= {rule["record"] for rule in rules() if "record" in rule}
    named = set().union(*(names(expr) for expr in expressions()))
    assert len(named) > 50
    assert named <= existing, sorted(named - existing)


@every_dashboard
def test_every_variable_that_is_named_exists_and_each_is_used(dashboard: Dashboard) -> None:
    content = json.dumps(dashboard.to_json()["panels"])
    for variable in dashboard.variables:
        assert f"${variable.name}" in content, variable.name
    for panel in panels(dashboard):
        for target in panel["targets"]:
            for filled in fillings(target["expr"], dashboard, __rate_interval="15s"):
                assert "$" not in filled


def test_expressions_balance_what_they_open() -> None:
    for expr in expressions():
        bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", expr)
        assert all(bare.count(a) == bare.count(b) for a, b in ("()", "{}", "[]")), expr


def test_what_is_provisioned_is_what_the_dashboards_name() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped, "$__rate_interval is four of these"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "freshet.yml").read_text())["providers"]
    services = yaml.safe_load((MONITORING.parents[1] / "docker-compose.yml").read_text())["services"]
    compose = services["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in compose["volumes"])
    assert f"dashboards:{provider['options']['path']}:ro" in compose["volumes"]
    _, _, output = services["dashboards"]["command"]
    assert services["dashboards"]["command"] == ["services.monitoring", "--output", output]
    assert services["dashboards"]["volumes"] == [f"dashboards:{output}"]
    assert compose["depends_on"]["dashboards"] == {"condition": "service_completed_successfully"}
    assert mounts["./services/monitoring/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = compose["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARDS[0].uid}.json"
    assert DASHBOARDS[0].title == "Overview", "who opens Grafana sees this first"


def test_model_versions_are_marks_in_learning() -> None:
    [learning] = [dashboard.to_json() for dashboard in DASHBOARDS if dashboard.title == "Learning"]
    [mark] = [mark for mark in learning["annotations"]["list"] if mark["name"] == "Model versions"]
    assert mark["enable"] is True
    assert mark["datasource"] == DATASOURCE
    assert mark["useValueForTime"] == "on"
    assert names(mark["target"]["expr"]) == {"freshet_trainer_version_time_seconds"}
