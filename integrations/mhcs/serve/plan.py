"""The command that ``mhcs serve`` runs, and its problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand
from model_hosting_container_standards.handlers.customer_handler import (
    check_customer_script,
)
from model_hosting_container_standards.settings import READ_BY_SERVERS, Settings
from model_hosting_container_standards.settings.service_links import (
    find_service_links,
)

from . import parser_process
from .arguments import Arguments
from .engines import executable_path
from .inputs import Inputs, read_inputs
from .model import Model, find_model
from .parser_process import ParserRequest


class Plan(msgspec.Struct, frozen=True):
    """The command of ``mhcs serve``, and what is wrong with it.

    Args:
        engine: the engine's name.
        model: None if no model was found; ``problems`` says why.
        command: the program and its arguments.
        links: ignored variables that are service links of Kubernetes.
        notes: other options that are ignored, one sentence each.
        problems: what is missing, or why the engine would reject its arguments.
        is_checked: whether the engine's own parser has checked the arguments.
    """

    engine: str
    model: Model | None
    command: Sequence[str]
    links: Sequence[str]
    notes: Sequence[str]
    problems: Sequence[str]
    is_checked: bool


def make_plan(
    settings: Settings,
    environ: Mapping[str, str],
    arguments: Sequence[str],
    *,
    check: bool = False,
) -> Plan:
    """Return the plan for the model of this image.

    Args:
        arguments: the arguments of ``serve``, which override variables; a first one
            that is not an option is the model.
        check: run the engine's parser, which takes seconds, even if no variable needs
            it.

    Raises:
        ConfigurationError: a variable has an invalid value.
        Interrupted: this process received a terminating signal.
        LookupError: no engine is installed, the choice is ambiguous, or several
            models are named.
    """
    given = read_inputs(environ, arguments)
    model, missing = _find_model(given, settings, environ)
    options = [
        *(model.options if model is not None else ()),
        *given.command.default_arguments(settings, given.options()),
    ]
    written, is_checked = _write(given, options, check=check)
    words = [
        *_start(given.command, model, settings),
        *options,
        *written.words,
        *given.line.arguments,
    ]
    return Plan(
        given.engine,
        model,
        words,
        links=find_service_links(environ, (given.command.prefix,)),
        notes=[*_notes(given, settings)],
        problems=[*missing, *written.problems],
        is_checked=is_checked,
    )


def _find_model(
    given: Inputs, settings: Settings, environ: Mapping[str, str]
) -> tuple[Model | None, list[str]]:
    try:
        return find_model(given, settings, environ), []
    except LookupError as error:
        return None, [str(error)]


def _write(
    given: Inputs, options: Sequence[str], *, check: bool
) -> tuple[Arguments, bool]:
    """Return the variables as arguments, and whether the parser has checked them."""
    if given.written.problems or not (check or given.is_in_doubt()):
        return given.written, False
    others = [*options, *given.line.arguments]
    result = parser_process.ask(ParserRequest(given.engine, given.variables, others))
    return result or given.written, result is not None


def _start(
    command: EngineCommand, model: Model | None, settings: Settings
) -> list[str]:
    executable, *words = command.command(model.argument if model is not None else None)
    address = ["--host", "0.0.0.0", "--port", str(settings.port)]
    return [executable_path(executable), *words, *address]


def check_server(settings: Settings) -> None:
    """Check what every server reads, as it would fail only after minutes of loading.

    Raises:
        ConfigurationError: a variable has an invalid value.
        HandlerResolutionError: the customer script is missing, or is not Python.
    """
    for variable in READ_BY_SERVERS:
        variable.read(settings)
    check_customer_script(settings)


def _notes(given: Inputs, settings: Settings) -> Iterator[str]:
    if given.config is not None:
        yield from given.config.left_out()
    yield from given.command.unused(settings)
