"""What is known of an engine before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class EngineDescription(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's name and its routes.

    ``name`` is its top-level package, such as ``"vllm"``, and what operators call it,
    in ``MHCS_DISABLE`` for one.

    ``health_path`` is the engine's own route that answers ``/ping`` where it has no
    ``/ping``.

    ``invocation_paths`` says where ``/invocations`` goes when the engine has no such
    route of its own. It maps a key of the request body, such as ``"messages"``, to the
    engine's routes for bodies with that key, of which the first one that a server has
    answers. The first key that the body has decides.

    ``adapter_path`` is the body field in which the engine expects the name of an
    adapter, and ``loads_adapters`` tells that its runtime has an adapter backend.

    ``metrics_is_json`` tells that the engine's ``/metrics`` is JSON instead of text for
    Prometheus: it is served at ``/metrics/json`` then, and ours takes its place.
    """

    name: str
    health_path: str = "/health"
    invocation_paths: Mapping[str, Sequence[str]] = {}
    adapter_path: str = "model"
    loads_adapters: bool = False
    metrics_is_json: bool = False
