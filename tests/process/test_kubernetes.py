"""The Kubernetes documents of the pages and examples are what Kubernetes accepts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

import jsonschema
import pytest
import yaml

from documentation import ROOT, blocks
from kubernetes_schemas import check

Document = dict[str, Any]
RAY: Final = ROOT / "examples" / "ray_serve"


def documents() -> Iterator[tuple[str, Document]]:
    """Return the documents of all pages and examples, and where they are."""
    sources = {block.id: block.text for block in blocks("yaml")}
    for file in (ROOT / "examples").rglob("*.y*ml"):
        sources[str(file.relative_to(ROOT))] = file.read_text()
    for place, text in sources.items():
        for document in yaml.safe_load_all(text):
            if "apiVersion" in document and "kind" in document:
                yield f"{place} {document['kind']}", document


DOCUMENTS: Final = dict(documents())


def of_kind(kind: str) -> list[Document]:
    return [each for each in DOCUMENTS.values() if each["kind"] == kind]


@pytest.mark.parametrize("place", DOCUMENTS)
def test_document_is_valid(place: str) -> None:
    check(DOCUMENTS[place])


def test_all_kinds_are_there() -> None:
    kinds = {document["kind"] for document in DOCUMENTS.values()}
    builtin = {"Deployment", "Service"}
    assert kinds == builtin | {
        "InferenceEndpointConfig",
        "LeaderWorkerSet",
        "RayService",
    }
    assert len(of_kind("RayService")) >= 3


def misspell(*path: str | int) -> Callable[[Document], None]:
    """Return a function that renames a field of a document."""

    def change(document: Document) -> None:
        part: Any = document
        for step in path[:-1]:
            part = part[step]
        part[f"{path[-1]}s"] = part.pop(path[-1])

    return change


GROUP: Final = ("spec", "leaderWorkerTemplate")
CONTAINER: Final = ("template", "spec", "containers", 0)
WORKERS: Final = ("spec", "rayClusterConfig", "workerGroupSpecs", 0)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", misspell("spec", *CONTAINER, "startupProbe")),
        ("Deployment", misspell("spec", "template", "spec", "containers")),
        ("Service", misspell("spec", "ports", 0, "targetPort")),
        ("InferenceEndpointConfig", misspell("spec", "modelName")),
        ("InferenceEndpointConfig", misspell("spec", "worker", "image")),
        ("LeaderWorkerSet", misspell("spec", "leaderWorkerTemplate", "size")),
        (
            "LeaderWorkerSet",
            misspell(*GROUP, "workerTemplate", *CONTAINER[1:], "image"),
        ),
        ("RayService", misspell("spec", "serveConfigV2")),
        ("RayService", misspell("spec", "rayClusterConfig", "headGroupSpec")),
        ("RayService", misspell(*WORKERS, "minReplicas")),
        ("RayService", misspell(*WORKERS, *CONTAINER, "image")),
        ("RayService", lambda each: each["metadata"].update(name="l" * 48)),
    ],
)
def test_wrong_document_is_refused(
    kind: str, change: Callable[[Document], None]
) -> None:
    document = copy.deepcopy(of_kind(kind)[0])
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        check(document)


# --- what no schema knows ----------------------------------------------------------


def pods(service: Document) -> list[Document]:
    """Return the pods of a RayService: of the head first, then of the workers."""
    cluster = service["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("service", of_kind("RayService"))
def test_serve_answers_on_the_port_of_the_head(service: Document) -> None:
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    ports = {port["name"]: port for port in pods(service)[0]["containers"][0]["ports"]}
    assert ports["serve"]["containerPort"] == config["http_options"]["port"]


@pytest.mark.parametrize("service", of_kind("RayService"))
def test_replicas_have_time_to_end(service: Document) -> None:
    [app] = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    [model] = app["args"]["llm_configs"]
    timeouts = [
        each["graceful_shutdown_timeout_s"]
        for each in (
            model["deployment_config"],
            app["args"]["ingress_deployment_config"],
        )
    ]
    for pod in pods(service)[1:]:
        assert pod["terminationGracePeriodSeconds"] > max(timeouts)


def test_hyperpod_serves_the_same_application() -> None:
    ours, hyperpod = (
        yaml.safe_load((RAY / name).read_text())
        for name in ("rayservice.yaml", "rayservice-hyperpod.yaml")
    )
    text = ours["spec"]["serveConfigV2"].replace("ORG/MODEL", "/models/my-model")
    assert hyperpod["spec"]["serveConfigV2"] == text
    mounts = [mount for pod in pods(hyperpod) for mount in mounts_of(pod)]
    assert mounts == ["/models"]


def mounts_of(pod: Document) -> list[str]:
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    mounts = pod["containers"][0].get("volumeMounts", [])
    return [mount["mountPath"] for mount in mounts if mount["name"] in volumes]


@pytest.mark.parametrize("deployment", of_kind("Deployment"))
def test_probes_ask_ping_on_a_port_that_exists(deployment: Document) -> None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    probes = [container["startupProbe"], container["readinessProbe"]]
    assert all(probe["httpGet"]["path"] == "/ping" for probe in probes)
    assert {probe["httpGet"]["port"] for probe in probes} <= ports
