"""docker-compose.yml holds what it takes to come up with `--wait`, hardened, and with what the services know."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.embedded.variables import CLASSES
from shared.process.settings import names_of
from tests.support.processes import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "services/monitoring/prometheus.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENDING = sorted(name for name, service in SERVICES.items() if service["restart"] == "no")
STAYING = sorted(set(SERVICES) - set(ENDING))
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
METRICS_PORT = 9464


def processes(service: str) -> int:
    return int(SERVICES[service]["environment"].get(f"FRESHET_{service.upper()}_PROCESSES", 1))


def test_the_parts_are_all_here() -> None:
    assert ENDING == ["dashboards", "sample", "topics"]
    assert STAYING == [
        "evaluator", "features", "gateway", "grafana", "inference", "kafka", "prometheus", "replay", "trainer"
    ]  # fmt: skip


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_says_whether_it_can_work(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ENDING)
def test_what_ends_is_waited_for_by_something_that_stays(name: str) -> None:
    waiting = [other for other in STAYING if name in SERVICES[other].get("depends_on", {})]
    assert waiting, "`docker compose up --wait` fails when something ends that nobody waits for"
    for other in waiting:
        assert SERVICES[other]["depends_on"][name] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", sorted(set(OURS) - set(ENDING) - {"gateway"}))
def test_whatever_reads_or_writes_the_log_waits_for_its_topics(name: str) -> None:
    assert "topics" in SERVICES[name]["depends_on"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_held_tight(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert str(service["user"]).partition(":")[0] not in ("0", "root", "")
    assert service["mem_limit"]
    assert 0 < float(service["cpus"]) <= 2, "more than a small machine has is refused by Docker"
    assert service["pids_limit"]
    assert service["stop_grace_period"] == "10s"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_only_this_machine_reaches_what_is_published(name: str) -> None:
    published = SERVICES[name].get("ports", [])
    assert bool(published) == (name in {"gateway", "grafana", "inference", "kafka", "prometheus"})
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OURS)))
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert tag.lstrip("v").count(".") == 2, f"{SERVICES[name]['image']}: name a whole version"


def test_features_can_be_scaled() -> None:
    assert "ports" not in SERVICES["features"]
    assert not any("container_name" in service or "hostname" in service for service in SERVICES.values())


@pytest.mark.parametrize("name", OURS)
def test_the_settings_given_are_known(name: str) -> None:
    known = {variable for cls in CLASSES for variable in names_of(cls)}
    given = SERVICES[name].get("environment", {})
    assert set(given) <= known
    if name in STAYING:
        prefix = f"FRESHET_{name.upper()}"
        assert given[f"{prefix}_LOG_FORMAT"] == "json"
        assert given[f"{prefix}_METRICS_HOST"] == "0.0.0.0"  # noqa: S104  # inside the containers' network
        assert int(given[f"{prefix}_METRICS_PORT"]) == METRICS_PORT


def test_a_stop_leaves_time_for_what_is_in_flight() -> None:
    for name, drain in (("inference", "DRAIN_SECONDS"), ("replay", "DRAIN_SECONDS"), ("gateway", "DRAIN_SECONDS")):
        given = SERVICES[name]["environment"][f"FRESHET_{name.upper()}_{drain}"]
        assert float(given) < float(SERVICES[name]["stop_grace_period"].rstrip("s"))


def test_what_the_trainer_writes_the_others_read() -> None:
    assert "models:/var/lib/freshet/models" in SERVICES["trainer"]["volumes"]
    for reader in ("inference", "evaluator"):
        assert "models:/var/lib/freshet/models:ro" in SERVICES[reader]["volumes"]


def test_the_settings_that_must_agree_are_given_to_all_that_read_them() -> None:
    given = {
        name: {key: value for key, value in service.get("environment", {}).items() if key.startswith("FRESHET_SHOP_")}
        for name, service in SERVICES.items()
    }
    readers = ("trainer", "inference", "evaluator")
    assert {name for name, shop in given.items() if shop} == set(readers)
    assert given["trainer"] == given["inference"] == given["evaluator"] == COMPOSE["x-shop"]
    assert given["trainer"]["FRESHET_SHOP_MODELS_DIR"] == "/var/lib/freshet/models"


def test_a_folder_that_a_service_goes_on_from_outlives_its_container() -> None:
    for name in ("replay", "trainer", "inference"):
        folder = SERVICES[name]["environment"][f"FRESHET_{name.upper()}_STATE_DIR"]
        assert f"{name}:{folder}" in SERVICES[name]["volumes"]
        [made] = re.findall(r"for state in ([a-z ]+);", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
        assert name in made.split(), "a volume mounted on a folder that the image lacks is root's"


@pytest.mark.parametrize("name", ["sample", "dashboards"])
def test_a_folder_that_is_written_once_for_others_is_the_users(name: str) -> None:
    assert SERVICES[name]["volumes"] == [f"{name}:/var/lib/freshet/{name}"]
    [made] = re.findall(r"for state in ([a-z ]+);", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert name in made.split()


def test_the_gateway_calls_the_others_where_they_are() -> None:
    given = SERVICES["gateway"]["environment"]
    inference, evaluator = SERVICES["inference"]["environment"], SERVICES["evaluator"]["environment"]
    assert given["FRESHET_GATEWAY_RECOMMENDER"] == f"inference:{inference['FRESHET_INFERENCE_GRPC_PORT']}"
    metrics = f"http://evaluator:{evaluator['FRESHET_EVALUATOR_METRICS_PORT']}/metrics"
    assert given["FRESHET_GATEWAY_EVALUATOR_METRICS"] == metrics
    assert SERVICES["gateway"]["ports"] == [f"127.0.0.1:${{HTTP_PORT:-8080}}:{given['FRESHET_GATEWAY_PORT']}"]


def test_one_broker_copies_nothing_and_makes_no_topic_by_itself() -> None:
    given = SERVICES["kafka"]["environment"]
    assert given["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert given["CLUSTER_ID"]
    assert {value for name, value in given.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {"1"}
    assert any(volume.endswith(f":{given['KAFKA_LOG_DIRS']}") for volume in SERVICES["kafka"]["volumes"])


def test_every_volume_used_is_declared() -> None:
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    named = {source for source in used if not source.startswith((".", "/", "$"))}
    assert named == set(COMPOSE["volumes"])


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert "PASSWORD" not in name or name.endswith(("_FILE", "__FILE")), f"{name}={value}"


@pytest.mark.parametrize("name", sorted(set(OURS) - set(ENDING)))
def test_prometheus_asks_each_process(name: str) -> None:
    job = next(job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == name)
    if name == "features":  # as many as there are
        [discovery] = job["dns_sd_configs"]
        assert (discovery["names"], discovery["type"], discovery["port"]) == (["features"], "A", METRICS_PORT)
    else:
        expected = [f"{name}:{METRICS_PORT + n}" for n in range(processes(name))]
        assert [target for group in job["static_configs"] for target in group["targets"]] == expected


def test_images_hold_what_their_service_needs() -> None:
    extras = {name: SERVICES[name]["build"]["args"]["EXTRAS"] for name in OURS}
    assert extras == {
        "topics": "console", "sample": "console", "replay": "console", "dashboards": "console",
        "features": "features", "trainer": "learn",
        "inference": "serve", "evaluator": "serve", "gateway": "gateway",
    }  # fmt: skip


def extras(name: str) -> set[str]:
    """An extra of pyproject.toml and the extras that it includes."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brought = {inner for need in declared[name] for inner in re.findall(r"freshet\[([^]]+)\]", need)}
    return {name}.union(*(extras(inner) for names in brought for inner in names.split(",")))


@pytest.mark.parametrize("name", OURS)
def test_no_image_holds_what_only_other_work_needs(name: str) -> None:
    brought = extras(SERVICES[name]["build"]["args"]["EXTRAS"])
    assert not brought & {"all", "dev", "embedded", "evaluate"}
    assert ("learn" in brought) == (name == "trainer"), "PyTorch is the trainer's alone"


def test_images_find_every_package() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    [path] = re.findall(r"PYTHONPATH=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert path.split(":") == [str(Path("/app") / where) for where in packages["find"]["where"]]


def test_the_example_names_each_variable_with_its_default() -> None:
    variables = re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^#(\w+)=(.*)$", example, flags=re.MULTILINE))
    assert set(shown) == {name for name, _ in variables}
    for name, default in variables:
        if name not in ("REPLAY_DATA_DIR", "PIP_EXTRA_INDEX_URL"):  # a volume, nothing
            assert shown[name] == default


def test_ci_makes_the_images_that_are_named_here() -> None:
    [base] = re.findall(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    [made] = re.findall(r"standins\" (.+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    others = {SERVICES[name]["image"] for name in set(SERVICES) - set(OURS) - {"grafana"}}
    assert set(made.split()) == {base} | others
