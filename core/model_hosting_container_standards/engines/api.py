"""The seam between the standards and an inference engine.

An engine is one object, published under the entry-point group
``model_hosting_container_standards.engines``. Everything this package needs to know of
it comes through that object; nothing in the core imports an engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from ..adapters.backend import AdapterBackend
    from ..customer_code.moved_names import MovedNames
    from .command import EngineCommand


class Engine(Protocol):
    """What the standards ask of an engine."""

    @property
    def name(self) -> str:
        """The name operators use, such as ``"vllm"``; also the module it is in."""

    @property
    def health_path(self) -> str:
        """The engine's own route that answers ``/ping`` where it has no ``/ping``."""

    @property
    def invocation_paths(self) -> Mapping[str, Sequence[str]]:
        """Where ``/invocations`` goes when the engine has no such route of its own.

        Maps a key of the request body, such as ``"messages"``, to the engine's routes
        for bodies with that key, of which the first one that a server has answers. The
        first key that the body has decides.
        """

    @property
    def metrics_is_json(self) -> bool:
        """Whether the engine's ``/metrics`` is no text for Prometheus.

        It is led to ``/metrics/json`` then, and ours takes its place.
        """

    @property
    def adapter_path(self) -> str:
        """The body field in which the engine expects the name of an adapter."""

    @property
    def moved_names(self) -> MovedNames:
        """What the engine's modules have lost in the release that is installed."""

    @property
    def command(self) -> EngineCommand | None:
        """The command that serves by the engine; None: ``mhcs serve`` has none."""

    def patch(self) -> None:
        """Register import hooks by which the engine's apps are bootstrapped.

        The engine itself must not be imported here.
        """

    def problems(self) -> Iterable[str]:
        """Say what in the environment keeps the engine from being patched, if any."""

    def owns(self, app: FastAPI) -> bool:
        """Whether the engine built this app."""

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        """The app's routes a client may choose by the ``route`` attribute.

        The adapter header counts on them, whichever way a request comes there.
        """

    def api_keys(self, app: FastAPI) -> Collection[str]:
        """The keys that the engine's own routes ask clients for."""

    def adapter_backend(self, app: FastAPI) -> AdapterBackend:
        """What loads adapters for the app; used once the app has started."""

    async def check(self, app: FastAPI) -> None:
        """Return once the engine answers, which costs it no generation.

        An engine that cannot be asked so is looked at, and that is all. Asked by each
        ``/ping``, once at a time.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    async def probe_generation(self, app: FastAPI) -> None:
        """Return once the engine is seen to work, or cannot be seen.

        Asked when requests have waited for long and nothing came of any: it has the
        engine generate a token of our own, whatever they are waiting for. Cancelled
        once nobody needs to know any more.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    def processes(self, app: FastAPI) -> Collection[int]:
        """The processes on this machine that compute for the app, if they are known.

        Not those that only spin while they have nothing to do. Asked when the engine is
        silent: one that computes is given more time.
        """
