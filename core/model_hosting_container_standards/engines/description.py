"""The static description of an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class EngineDescription(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's name and its routes.

    ``name`` is its top-level package, such as ``"vllm"``, and the name that operators
    use, for example in ``MHCS_DISABLE``.

    ``health_path`` is the engine's own route that answers ``/ping`` if it has no
    ``/ping``.

    ``invocation_paths`` routes ``/invocations`` if the engine has no such route of its
    own. It maps a key of the request body, such as ``"messages"``, to the engine's
    routes for bodies with that key; the first of them that the server has is used. If a
    body has several of the keys, the first one in the mapping decides.
    ``replaces_invocations`` is true if they replace an ``/invocations`` of the engine
    that accepts some bodies only.

    ``adapter_path`` is the body field in which the engine expects the name of an
    adapter. ``checks_models`` is false if the engine answers by its base model whatever
    the body's ``model`` is: it is then checked before the engine sees the request, and
    the engine asks for :meth:`RegisteredAdapters.selected`.
    ``loads_adapters`` is true if its runtime has an adapter backend.

    ``activated_by`` is what the engine's own configuration has to have, such as a class
    of ours; empty for an engine that is patched or calls ``bootstrap``.

    ``metrics_is_json`` is true if the engine's ``/metrics`` is JSON instead of text for
    Prometheus: it is then served at ``/metrics/json``, and ours replaces it.
    """

    name: str
    health_path: str = "/health"
    invocation_paths: Mapping[str, Sequence[str]] = {}
    replaces_invocations: bool = False
    adapter_path: str = "model"
    checks_models: bool = True
    loads_adapters: bool = False
    activated_by: str = ""
    metrics_is_json: bool = False
