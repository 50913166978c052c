"""Finds the customer's handlers: by environment, decorator, or name in the script."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from ..contract.routes import INVOKE, PING, STREAM
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

#: The module name that stands for the customer script in specs.
SCRIPT_ALIAS: Final = "model"

#: For each handler: the variable with its spec, and its function names in the script.
_SOURCES: Final[Mapping[str, tuple[Variable[str | None], str, str]]] = {
    PING: (Settings.ping_handler, "custom_sagemaker_ping_handler", "ping"),
    INVOKE: (
        Settings.invocation_handler,
        "custom_sagemaker_invocation_handler",
        "invoke",
    ),
}


#: All function names by which a script can define a handler.
_NAMES: Final = frozenset(name for _, *names in _SOURCES.values() for name in names)
#: All variables whose spec may refer to the script.
_SPECS: Final = (
    Settings.ping_handler,
    Settings.invocation_handler,
    Settings.throttle,
    Settings.pre_post_process,
    Settings.pre_process,
    Settings.post_process,
)


class CustomerHandler(msgspec.Struct, frozen=True):
    """A customer's handler, and where it was specified.

    Exactly one of ``handler``, a callable, and ``path``, a route of the app, is set.
    """

    source: str
    handler: Handler | None = None
    path: str | None = None


def load_customer_script(settings: Settings) -> ModuleType | None:
    """Load the customer script, if there is one.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` names a missing file.
        ModuleLoadError: it cannot be loaded, or was written for another server. An
            exception of the script is chained as the cause.
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
    """Check the customer script without running it, before requirements are installed.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` names a missing file.
        ModuleLoadError: it cannot be read, is not valid Python, or imports another
            server's modules.
    """
    script = find_customer_script(settings)
    if script is not None:
        with _with_opt_out_hint():
            if not _is_named(script, settings):
                check_imports(script, _NAMES)
            # Modules that it imports may be among the requirements.
            folders = settings.code_folders
            has_requirements = any(
                (folder / "requirements.txt").exists() for folder in folders
            )
            check_source(script, are_modules_installed=not has_requirements)


def find_customer_script(settings: Settings) -> Path | None:
    """Return the path of the customer script, if there is one.

    Raises:
        HandlerFileNotFoundError: ``CUSTOM_SCRIPT_FILENAME`` names a missing file.
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
    """Return whether a spec refers to the script."""
    specs = (variable.read(settings) or "" for variable in _SPECS)
    modules = {Path(spec.rpartition(":")[0]).stem for spec in specs}
    return bool(modules & {SCRIPT_ALIAS, script.stem})


def _has_handler(module: ModuleType) -> bool:
    """Return whether a handler is registered, or the script defines one by name."""
    return any(map(handler_registry.get_customer, (*_SOURCES, STREAM))) or any(
        hasattr(module, name) for name in _NAMES
    )


@contextmanager
def _with_opt_out_hint() -> Iterator[None]:
    """Append the hint on how to start without a script to errors of the block."""
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
    """Return the customer's handler for ``"ping"`` or ``"invoke"``, if there is one.

    Raises:
        HandlerResolutionError: the specified handler cannot be used.
    """
    variable, explicit, short = _SOURCES[name]
    if spec := variable.read(settings):
        source = f"{variable.name}={spec}"
        with _prefixing_errors(source):
            return _from_spec(source, spec, settings, script)
    if handler := handler_registry.get_customer(name):
        return CustomerHandler(f"@{name} decorator", as_instance(handler))
    if script is not None:
        return _from_script(script, explicit, short)
    return None


def load_spec(
    spec: str, settings: Settings, script: ModuleType | None
) -> Callable[..., Any]:
    """Return the callable that a spec of a file or module refers to.

    Raises:
        HandlerResolutionError: it does not exist, or cannot be loaded.
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
    return CustomerHandler(source, as_instance(load_spec(spec, settings, script)))


@contextmanager
def _prefixing_errors(source: str) -> Iterator[None]:
    """Prefix errors of the block with where the handler was specified."""
    try:
        yield
    except HandlerResolutionError as error:
        raise type(error)(f"{source}: {error}") from error.__cause__


def _from_script(
    script: ModuleType, explicit: str, short: str
) -> CustomerHandler | None:
    for name in (explicit, short):
        handler = getattr(script, name, None)
        # Skip imported names: "from ... import ping" imports our own decorator.
        if name == short and getattr(handler, "__module__", None) != script.__name__:
            continue
        if handler is not None:
            source = f"function {name} of {script.__file__}"
            return CustomerHandler(
                source, as_instance(_check_callable(source, handler))
            )
    return None


def _check_callable(source: str, handler: Any) -> Handler:
    if not callable(handler):
        raise HandlerNotCallableError(
            f"{source} is a {type(handler).__name__}, not a callable."
        )
    return handler  # type: ignore[no-any-return]


def as_instance(handler: Handler) -> Handler:
    """Return an instance if the handler is a class, as calling it only makes one."""
    if not inspect.isclass(handler):
        return handler
    if not any("__call__" in vars(base) for base in handler.__mro__):
        label = f"{handler.__module__}.{handler.__qualname__}"
        raise HandlerNotCallableError(f"{label} is a class without a __call__ method.")
    instance: Handler = instantiate(handler)
    return instance
