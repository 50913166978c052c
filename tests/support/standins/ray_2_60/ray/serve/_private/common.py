from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ReplicaContext(NamedTuple):
    app_name: str
    deployment: str


@dataclass(frozen=True)
class DeploymentID:
    name: str
    app_name: str = "app"


@dataclass(frozen=True)
class ReplicaID:
    unique_id: str
    deployment_id: DeploymentID


@dataclass
class RequestMetadata:
    request_id: str
    internal_request_id: str
    call_method: str
