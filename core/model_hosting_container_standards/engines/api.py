"""The interface between the standards and an inference engine.

An engine is one object, published under the entry-point group
``model_hosting_container_standards.engines``. This package uses an engine only through
that object; nothing in the core imports an engine.

It has three parts: a description, which is data; the activation, which consists of the
methods of :class:`Engine`; and a runtime, which is created once an app of the engine
has started.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, ClassVar

from .runtime import EngineRuntime

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from ..customer_code.moved_names import MovedNames
    from ..sessions.table import SessionStorage
    from .command import EngineCommand
    from .description import EngineDescription


class Engine:
    """Base class of engines. An engine overrides the methods that it supports.

    Importing it imports neither the engine nor FastAPI.
    """

    description: ClassVar[EngineDescription]

    @property
    def name(self) -> str:
        """The name operators use, such as ``"vllm"``; also the package it is in."""
        return self.description.name

    def patch(self) -> None:
        """Register import hooks that call ``bootstrap`` for the engine's apps.

        The engine itself must not be imported here. An engine that calls
        ``bootstrap(app)`` by itself needs no hooks.
        """

    def problems(self) -> Iterable[str]:
        """Return reasons in the environment why the engine cannot be patched."""
        return ()

    def loads_plugins(self) -> bool:
        """Whether the installed release calls :meth:`patch` by a plugin of its own."""
        return False

    def owns(self, app: FastAPI) -> bool:
        """Whether the engine built this app; the methods below get only such apps."""
        del app
        return False

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        """Return the app's routes that a client may select by the ``route`` attribute.

        The adapter header applies to them, however a request gets there. Called before
        the app starts, when its routes have been registered.
        """
        del app
        return ()

    def api_keys(self, app: FastAPI) -> Collection[str]:
        """Return the API keys that the engine's own routes require.

        Called before the app starts, so that a key that cannot be read stops the start.
        """
        del app
        return ()

    def session_storage(self, app: FastAPI) -> SessionStorage | None:
        """Return where sessions are stored; None: in a file of this machine."""
        del app
        return None

    def start(self, app: FastAPI) -> EngineRuntime:
        """Return the engine's runtime; called once, when an app has started."""
        return EngineRuntime(app)

    @property
    def command(self) -> EngineCommand | None:
        """The engine's server command; None: ``mhcs serve`` does not support it."""
        return None

    @property
    def moved_names(self) -> MovedNames:
        """Names that the engine's modules no longer have in the installed release."""
        return {}
