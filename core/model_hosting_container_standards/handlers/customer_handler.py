"""Which customer handler answers: environment, decorator, or a name in the script."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from ..contract.routes import INVOKE, PING
from ..customer_code.file_loader import FileLoader
from ..customer_code.function_loader import FunctionLoader, instantiate
from ..customer_code.script_source import (
    check_definitions,
    check_imports,
    check_source,
)
from ..exceptions import (
    HandlerFileNotFoundError,
    HandlerNotCallableError,
    HandlerResolutionError,
    InvalidHandlerSpecError,
    ModuleLoadError,
)
from ..settings import Settings, Variable
from .registry import Handler, handler_registry
from .spec import parse_handler_spec

#: The name by which specs refer to the customer script, whatever its file is called.
SCRIPT_ALIAS: Final = "model"

#: For each handler the variable with its spec, and the script's names for it.
_SOURCES: Final[Mapping[str, tuple[Variable[str | None], str, str]]] = {
    PING: (Settings.ping_handler, "custom_sagemaker_ping_handler", "ping"),
    INVOKE: (
        Settings.invocation_handler,
        "custom_sagemaker_invocation_handler",
        "invoke",
    ),
}


#: Every name by which the script may have a handler.
_NAMES: Final = frozenset(name for _, *names in _SOURCES.values() for name in names)
#: Every variable that may name something of the script.
_SPECS: Final = (
    Settings.ping_handler,
    Settings.invocation_handler,
    Settings.throttle,
    Settings.pre_post_process,
    Settings.pre_process,
    Settings.post_process,
)


class CustomerHandler(msgspec.Struct, frozen=True):
    """A handler the customer asked for, and where they did.

    Exactly one of ``handler``, a callable, and ``path``, a route of the app, is set.
    """

    source: str
    handler: Handler | None = None
    path: str | None = None


def load_customer_script(settings: Settings) -> ModuleType | None:
    """Load the customer script, if there is one.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` is set, but has no file.
        ModuleLoadError: it cannot be loaded, or is another server's. Where it raised,
            its own error is the cause.
    """
    name, script = settings.script_filename, find_customer_script(settings)
    if name is None or script is None:
        return None
    with _with_opt_out_hint():
        may_be_foreign = not _is_named(script, settings)
        if may_be_foreign:
            check_imports(script, _NAMES)
        module = _files(settings).load_module(name)
        if may_be_foreign and not _has_handler(module):
            check_definitions(script, _NAMES)
        return module


def check_customer_script(settings: Settings) -> None:
    """Check the customer script without running it, before anything is installed.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` is set, but has no file.
        ModuleLoadError: it cannot be read, is no Python, or imports another server's
            modules.
    """
    script = find_customer_script(settings)
    if script is not None:
        with _with_opt_out_hint():
            if not _is_named(script, settings):
                check_imports(script, _NAMES)
            # What it imports may be among the requirements.
            folders = settings.code_folders
            asks = any((folder / "requirements.txt").exists() for folder in folders)
            check_source(script, are_modules_installed=not asks)


def find_customer_script(settings: Settings) -> Path | None:
    """Return the customer script, if there is one.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` is set, but has no file.
    """
    if settings.script_filename is None:
        return None
    try:
        return _files(settings).find(settings.script_filename)
    except HandlerFileNotFoundError:
        name = Settings.script_filename.name
        if not settings.raw(name):
            return None
        file = settings.script_filename
        top, code = (folder / file for folder in settings.code_folders)
        raise HandlerFileNotFoundError(
            f"{name}={file!r}, but {top} does not exist, nor does "
            f"{code}. Put the script there, or unset {name}."
        ) from None


def _files(settings: Settings) -> FileLoader:
    return FileLoader(settings.code_folders)


def _is_named(script: Path, settings: Settings) -> bool:
    """Whether a spec leads to a script."""
    specs = (variable.read(settings) or "" for variable in _SPECS)
    modules = {Path(spec.rpartition(":")[0]).stem for spec in specs}
    return bool(modules & {SCRIPT_ALIAS, script.stem})


def _has_handler(module: ModuleType) -> bool:
    """Whether a handler is registered, by whatever was imported, or has its name."""
    return any(map(handler_registry.get_customer, _SOURCES)) or any(
        hasattr(module, name) for name in _NAMES
    )


@contextmanager
def _with_opt_out_hint() -> Iterator[None]:
    """End every error with how to start without a script."""
    try:
        yield
    except ModuleLoadError as error:
        name = Settings.script_filename.name
        raise ModuleLoadError(
            f"{str(error).rstrip('.')}. To start without a script, set {name}=none."
        ) from error.__cause__


def resolve_customer_handler(
    name: str, settings: Settings, script: ModuleType | None
) -> CustomerHandler | None:
    """Return the customer's handler for ``"ping"`` or ``"invoke"``, if they have one.

    Raises:
        HandlerResolutionError: one was asked for, but cannot be used.
    """
    variable, explicit, short = _SOURCES[name]
    if spec := variable.read(settings):
        source = f"{variable.name}={spec}"
        with _naming(source):
            return _from_spec(source, spec, settings, script)
    if handler := handler_registry.get_customer(name):
        return CustomerHandler(f"@{name} decorator", _instance(handler))
    if script is not None:
        return _from_script(script, explicit, short)
    return None


def load_spec(
    spec: str, settings: Settings, script: ModuleType | None
) -> Callable[..., Any]:
    """Return the callable that a spec of a file or module names.

    Raises:
        HandlerResolutionError: there is none.
    """
    parsed = parse_handler_spec(spec)
    if parsed.kind == "path":
        raise InvalidHandlerSpecError(
            f"{spec!r} is a path of the app: write model.py:function, "
            "/opt/ml/model/handlers.py:function or package.module:function."
        )
    aliases = {SCRIPT_ALIAS: script} if script is not None else {}
    loader = FunctionLoader(settings.code_folders, aliases)
    return loader.load_function(parsed.reference)


def _from_spec(
    source: str, spec: str, settings: Settings, script: ModuleType | None
) -> CustomerHandler:
    parsed = parse_handler_spec(spec)
    if parsed.kind == "path":
        return CustomerHandler(source, path=parsed.location)
    return CustomerHandler(source, _instance(load_spec(spec, settings, script)))


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Begin every error with where the handler was asked for."""
    try:
        yield
    except HandlerResolutionError as error:
        raise type(error)(f"{source}: {error}") from error.__cause__


def _from_script(
    script: ModuleType, explicit: str, short: str
) -> CustomerHandler | None:
    for name in (explicit, short):
        found = getattr(script, name, None)
        # "from ... import ping" brings our own decorator into the script by that name.
        if name == short and getattr(found, "__module__", None) != script.__name__:
            continue
        if found is not None:
            source = f"function {name} of {script.__file__}"
            return CustomerHandler(source, _instance(_check_callable(source, found)))
    return None


def _check_callable(source: str, found: Any) -> Handler:
    if not callable(found):
        raise HandlerNotCallableError(
            f"{source} is a {type(found).__name__}, not a callable."
        )
    return found  # type: ignore[no-any-return]


def _instance(handler: Handler) -> Handler:
    """Return an instance of a class: to call the class would only construct one."""
    if not inspect.isclass(handler):
        return handler
    if not any("__call__" in vars(base) for base in handler.__mro__):
        label = f"{handler.__module__}.{handler.__qualname__}"
        raise HandlerNotCallableError(f"{label} is a class without a __call__ method.")
    instance: Handler = instantiate(handler)
    return instance
