"""What ``mhcs serve`` is going to run, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from model_hosting_container_standards.engines.command import EngineCommand
from model_hosting_container_standards.handlers.customer_handler import (
    check_customer_script,
)
from model_hosting_container_standards.settings import READ_BY_SERVERS, Settings

from . import inquiry
from .arguments import Arguments
from .engines import executable_path
from .given import Given, read_given
from .inquiry import Inquiry
from .model import Model, find_model
from .variables import read_service_links


class Plan(msgspec.Struct, frozen=True):
    """What is going to run.

    ``model`` is None where there is none, which is a problem. ``links`` are variables
    of Kubernetes', which are ignored. ``notes`` say what else does not count,
    ``problems`` what is missing, or why the engine would refuse this. ``is_checked``
    tells that its own parser has been asked.
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
    """Return the command that serves the model of this image.

    Args:
        arguments: those behind ``serve``, which win; a first one that is not an option
            is the model.
        check: ask the engine's parser, which takes seconds, even if nothing is in
            doubt.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        Interrupted: this process is to end.
        LookupError: there is no engine, or more than one; several models are named.
    """
    given = read_given(environ, arguments)
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
        links=read_service_links(given.command, environ),
        notes=[*_notes(given, settings)],
        problems=[*missing, *written.problems],
        is_checked=is_checked,
    )


def _find_model(
    given: Given, settings: Settings, environ: Mapping[str, str]
) -> tuple[Model | None, list[str]]:
    try:
        return find_model(given, settings, environ), []
    except LookupError as error:
        return None, [str(error)]


def _write(
    given: Given, options: Sequence[str], *, check: bool
) -> tuple[Arguments, bool]:
    """Return the variables as arguments, and whether the parser has been asked."""
    if given.written.problems or not (check or given.is_in_doubt()):
        return given.written, False
    others = [*options, *given.line.arguments]
    answer = inquiry.ask(Inquiry(given.engine, given.variables, others))
    return answer or given.written, answer is not None


def _start(
    command: EngineCommand, model: Model | None, settings: Settings
) -> list[str]:
    executable, *words = command.command(model.argument if model is not None else None)
    address = ["--host", "0.0.0.0", "--port", str(settings.port)]
    return [executable_path(executable), *words, *address]


def check_server(settings: Settings) -> None:
    """Look at what every server reads: it would find what is wrong after minutes only.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        HandlerResolutionError: the customer script is missing, or is no Python.
    """
    for variable in READ_BY_SERVERS:
        variable.read(settings)
    check_customer_script(settings)


def _notes(given: Given, settings: Settings) -> Iterator[str]:
    if given.config is not None:
        yield from given.config.left_out()
    yield from given.command.unused(settings)
