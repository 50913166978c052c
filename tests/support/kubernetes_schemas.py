"""Check Kubernetes documents: built-in kinds, and those of operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml

#: The oldest and the newest release of Kubernetes that HyperPod has.
VERSIONS: Final = ("1.28", "1.33")
_GROUP_TEMPLATES: Final = ("leaderTemplate", "workerTemplate")
_OURS: Final = {
    file.stem: yaml.safe_load(file.read_text())
    for file in Path(__file__).with_name("schemas").glob("*.yaml")
}


def check(document: Mapping[str, Any]) -> None:
    """Raise an error for a document that its schema does not allow.

    Raises:
        jsonschema.ValidationError: it has a wrong or an unknown field.
        kubernetes_validate.SchemaNotFoundError: there is no schema of its kind.
    """
    schema = _OURS.get(document["kind"].lower())
    if schema is not None:
        jsonschema.validate(document, schema)
    builtin = [document] if schema is None else [*_templates(document["spec"])]
    for each in builtin:
        for version in VERSIONS:
            kubernetes_validate.validate(dict(each), version, strict=True)


def _templates(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the templates of the pods of KubeRay and LeaderWorkerSet as documents."""
    cluster = spec.get("rayClusterConfig", {})
    groups = [cluster.get("headGroupSpec"), *cluster.get("workerGroupSpecs", [])]
    templates = [group["template"] for group in groups if group]
    group = spec.get("leaderWorkerTemplate", {})
    templates += [group[name] for name in _GROUP_TEMPLATES if name in group]
    for template in templates:
        document = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}}
        yield {**document, "template": template}
