"""The seam between the standards and an inference engine.

An engine is one object, published under the entry-point group
``model_hosting_container_standards.engines``. Everything this package needs to know of
it comes through that object; nothing in the core imports an engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from .engine_command import EngineCommand
    from .sagemaker.lora.adapter import Adapter
    from .sagemaker.lora.adapters import Adapters
    from .sagemaker.lora.base_model import BaseModel

ENTRY_POINT_GROUP: Final = "model_hosting_container_standards.engines"


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
    def metrics_are_statistics(self) -> bool:
        """Whether the engine's ``/metrics`` is no text for Prometheus.

        It is led to ``/metrics/json`` then, and ours takes its place.
        """

    @property
    def adapter_path(self) -> str:
        """The body field in which the engine expects the name of an adapter."""

    @property
    def moved_names(self) -> Mapping[str, Sequence[str]]:
        """``"old.module:Name"`` to the references that may hold the name today."""

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

    async def try_out(self, app: FastAPI) -> None:
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


class AdapterBackend(Protocol):
    """What the standards ask of an engine that loads LoRA adapters.

    Its methods raise an :class:`AdapterError`, whose status the client gets.
    """

    @property
    def server_name(self) -> str:
        """Names the server among those on a machine, and is the same after a restart.

        Such as ``"vllm-8080"``; it becomes the name of a folder.
        """

    def unavailable(self) -> str | None:
        """Say why there can be no adapters and how to mend it, or None if they can."""

    @property
    def max_rank(self) -> int | None:
        """The highest rank that can be loaded; None: nobody knows."""

    def base_model(self) -> BaseModel | None:
        """Return the model that adapters have to fit; None: nothing is known of it.

        Asked in a thread, each time an adapter's files are looked at.
        """

    @property
    def slots(self) -> int:
        """How many adapters can be computed at once, and so be pinned; 0: no pins."""

    @property
    def kept(self) -> int | None:
        """How many adapters the engine keeps before it drops the oldest; None: all.

        One that was dropped is read from its path again when it is used.
        """

    @property
    def flags(self) -> Collection[str]:
        """Fields of a registration, true or false, that only this engine knows."""

    def prepare(self) -> None:
        """Get ready, once the app has started, whether there can be adapters or not.

        An engine that checks names lists all there are where it knows one not, or has
        its base model answer, as
        :func:`~model_hosting_container_standards.sagemaker.unknown_model.base_model_answers`
        says.
        """

    def attach(self, adapters: Adapters) -> None:
        """Let the engine's own routes see ``adapters``, from now on."""

    def own_models(self) -> Collection[str]:
        """Names that requests give the engine's base model."""

    def own_adapters(self) -> Collection[str]:
        """Names of adapters that the engine has without us."""

    def finds(self, name: str) -> bool:
        """Whether a request may name what the engine has, or finds, without us.

        True also where nothing is known of the name, but the engine refuses those it
        does not know.
        """

    async def load(self, adapter: Adapter) -> None:
        """Load an adapter, or do nothing if it is loaded."""

    async def unload(self, adapter: Adapter) -> None:
        """Free what the engine has of an adapter that no request uses."""

    async def pin(self, adapter: Adapter) -> None:
        """Keep a loaded adapter loaded."""

    async def unpin(self, adapter: Adapter) -> None:
        """Undo :meth:`pin`, without harm to the requests that use the adapter."""


def installed_engines() -> Iterator[Engine]:
    """Yield the engines that installed distributions publish."""
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        yield entry_point.load()


def engine_names() -> frozenset[str]:
    """Return the names of those engines, which are those of their modules."""
    from importlib.metadata import entry_points

    return frozenset(entry_points(group=ENTRY_POINT_GROUP).names)


def starts_engine(command: Sequence[str]) -> bool:
    """Whether a command is an engine's own, or runs a module of it (``-m``)."""
    program = Path(command[0]).name
    modules = [
        word.partition(".")[0] for flag, word in pairwise(command) if flag == "-m"
    ]
    return any(
        engine.name in modules[:1]
        or (engine.command is not None and program in engine.command.executables)
        for engine in installed_engines()
    )


def find_engine(app: FastAPI) -> Engine | None:
    """Return the engine that built ``app``, or None for an app of somebody's own."""
    return next((engine for engine in installed_engines() if engine.owns(app)), None)
