"""``examples/monitoring`` names metrics that exist, and its alerts fire."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient

import documentation
import promql
from documentation import ROOT
from engine_metrics import ENGINES, SGLANG, VLLM
from metrics_page import Page, scrape
from model_hosting_container_standards import sagemaker
from servers import run_until_exit

FOLDER: Final = ROOT / "examples" / "monitoring"
GRAFANA: Final = FOLDER / "grafana"
DASHBOARD: Final = json.loads(
    (GRAFANA / "dashboards" / "inference-servers.json").read_text()
)
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: Final = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
RULES: Final = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS: Final = [rule for rule in RULES if "alert" in rule]
RECORDED: Final = {rule["record"] for rule in RULES if "record" in rule}
#: Expressions, by the titles of panels and the names of rules.
EXPRESSIONS: Final = {
    **{panel["title"]: [each["expr"] for each in panel["targets"]] for panel in PANELS},
    **{rule.get("alert") or rule["record"]: [rule["expr"]] for rule in RULES},
}
#: Labels of the scraper, of histograms, and of engines.
OTHER_LABELS: Final = {"job", "instance", "le"}
PROMTOOL: Final = shutil.which("promtool")
requires_promtool: Final = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: Prometheus brings it"
)


def selectors_of(place: str) -> list[promql.Selector]:
    parsed = (promql.parse(expression)[0] for expression in EXPRESSIONS[place])
    return [*itertools.chain.from_iterable(parsed)]


@pytest.fixture
def page() -> Page:
    """The metrics of a server that has answered."""

    async def answer() -> dict[str, str]:
        return {}

    app = FastAPI()
    app.add_api_route("/ping", answer)
    app.add_api_route("/invocations", answer, methods=["POST"])
    client = TestClient(sagemaker.bootstrap(app))
    assert client.get("/ping").status_code == 200
    assert client.post("/invocations", json={}).status_code == 200
    return scrape(client)


# --- expressions -------------------------------------------------------------------


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_every_metric_exists(place: str, page: Page) -> None:
    names = {selector.metric for selector in selectors_of(place)}
    assert names
    assert names <= page.names() | ENGINES | RECORDED | {"up"}


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_our_metrics_have_the_labels(place: str, page: Page) -> None:
    for expression in EXPRESSIONS[place]:
        selectors, grouped = promql.parse(expression)
        for metric, matchers in selectors:
            if metric.startswith("sagemaker_"):
                labels = {label for label, _ in matchers} | grouped
                assert labels <= page.label_names(metric) | OTHER_LABELS, metric


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_values_of_labels_exist(place: str, page: Page) -> None:
    """A value that is misspelt matches nothing, and its alert never fires."""
    for metric, matchers in selectors_of(place):
        for label, pattern in matchers:
            if label in ("result", "event", "le"):
                assert {*pattern.split("|")} <= page.labels(metric, label)


def test_every_metric_of_an_engine_is_used() -> None:
    used = {each.metric for place in EXPRESSIONS for each in selectors_of(place)}
    assert used >= ENGINES | RECORDED


# --- the dashboard -----------------------------------------------------------------


def test_panels_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len({*ids})
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Return the cells of the grid that a panel covers, as (column, row)."""
    place = panel["gridPos"]
    columns = range(place["x"], place["x"] + place["w"])
    return itertools.product(columns, range(place["y"], place["y"] + place["h"]))


def test_panels_do_not_overlap() -> None:
    taken = [cell for panel in DASHBOARD["panels"] for cell in cells(panel)]
    assert len(taken) == len({*taken})
    assert {column for column, _ in taken} == {*range(24)}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panel_is_complete(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("stat", "timeseries")
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in (
        *("none", "percentunit", "reqps", "s", "short"),
    )
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len({*references})
    for each in (panel, *panel["targets"]):
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panel_shows_what_the_variables_select(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for metric, matchers in promql.parse(target["expr"])[0]:
            assert {("job", "$job"), ("instance", "$instance")} <= {*matchers}, metric


def test_variables_are_those_that_panels_use() -> None:
    used = {*re.findall(r"\$\{?([a-z]+)", json.dumps(PANELS))}
    assert used == {*VARIABLES}


@pytest.mark.parametrize("name", ["job", "instance"])
def test_variable_lists_servers_by_their_metrics(name: str, page: Page) -> None:
    query = VARIABLES[name]["query"]["query"]
    match = re.fullmatch(rf"label_values\((.+), {name}\)", query)
    assert match
    [selector] = promql.parse(match[1])[0]
    assert selector.metric in page.names()


def test_grafana_is_provisioned_with_dashboard_and_data_source() -> None:
    folder = GRAFANA / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())
    providers = yaml.safe_load(
        (folder / "dashboards" / "inference-servers.yml").read_text()
    )
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    assert [each["type"] for each in sources["datasources"]] == ["prometheus"]
    [provider] = providers["providers"]
    # Where the command of the guide mounts the dashboards.
    guide = (ROOT / "docs" / "how-to" / "monitor.md").read_text()
    assert f":{provider['options']['path']}" in guide
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["global"]
    interval = sources["datasources"][0]["jsonData"]["timeInterval"]
    assert interval == scraped["scrape_interval"]


def test_names_that_prometheus_2_is_given_are_changed_back(page: Page) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [rule] = config["scrape_configs"][0]["metric_relabel_configs"]
    assert rule["replacement"] == "${1}:${2}"
    for name in VLLM | SGLANG:
        match = re.fullmatch(rule["regex"], name.replace(":", "_"))
        assert match
        assert ":".join(match.groups()) == name
    assert not any(map(re.compile(rule["regex"]).fullmatch, page.names()))


# --- alerts ------------------------------------------------------------------------


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    annotations = alert["annotations"]
    assert "{{ $labels.instance }}" in annotations["summary"]
    assert annotations["description"].endswith(".")
    path, _, anchor = annotations["runbook"].partition("#")
    assert anchor in documentation.anchors(ROOT / path)


def test_every_alert_is_tested() -> None:
    tests = (FOLDER / "alerts_test.yml").read_text()
    assert all(alert["alert"] in tests for alert in ALERTS)


@requires_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", FOLDER / "prometheus.yml"],
        ["test", "rules", FOLDER / "alerts_test.yml"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_prometheus_accepts_files(arguments: list[Any]) -> None:
    end = run_until_exit([str(PROMTOOL), *arguments])
    assert end.status == 0, end.stdout + end.stderr
