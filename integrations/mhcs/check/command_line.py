"""The command ``mhcs check``."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from .body import Body
    from .check import Check
    from .container import Container, Options
    from .report import Report, Result

_USAGE_ERROR: Final = 2
_INTERRUPTED: Final = 130
Format = Literal["text", "json", "junit", "html"]


def check(
    url: Annotated[str, typer.Argument(help="Where the container listens.")],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Run this check or area alone. Repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", help="Leave this check or area out. Repeatable."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds for each request.")
    ] = 60.0,
    total_timeout: Annotated[
        float, typer.Option("--total-timeout", min=1, help="Seconds for all checks.")
    ] = 900.0,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Seconds to wait for /ping to be a 200."),
    ] = 0.0,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model to name; else one of /v1/models."),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option("--body", help="The body for /invocations: JSON, or a file."),
    ] = None,
    content_type: Annotated[
        str, typer.Option("--content-type", help="The type of --body.")
    ] = "application/json",
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="A text that only your handler's answers have."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="MHCS_API_KEY", help="The key to send. Never shown."
        ),
    ] = None,
    adapters: Annotated[
        Path | None,
        typer.Option("--adapters", help="A folder of adapters that may be registered."),
    ] = None,
    drain: Annotated[
        int | None,
        typer.Option("--drain", help="The process that may be ended by SIGTERM."),
    ] = None,
    output_format: Annotated[
        Format, typer.Option("--format", help="The format of the standard output.")
    ] = "text",
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", help="Also write this .html, .xml, .json or .txt. Repeatable."
        ),
    ] = None,
    docs: Annotated[
        str | None,
        typer.Option("--docs", help="Where the documentation is published, for links."),
    ] = None,
) -> None:
    """Check that a running container keeps the contract, as SageMaker would ask it."""
    from .container import Options
    from .formats import SUFFIXES
    from .selection import check_formats, find_adapters

    _print_any_text()
    deadline = time.monotonic() + total_timeout
    try:
        check_formats(output or (), SUFFIXES)
        checks = _selected(only, skip)
        options = Options(
            model=model,
            body=None if body is None else _body(body, content_type),
            adapters={} if adapters is None else find_adapters(adapters),
            drain=None if drain is None else _process(drain),
            expected=expect,
        )
        container = _container(url, api_key, timeout, deadline, options)
    except ValueError as error:
        _fail(str(error))
    report = _run(container, checks, output_format, wait, docs)
    _write(report, output_format, output or [])
    raise typer.Exit(1 if report.has_failed or report.left else 0)


def _selected(only: list[str] | None, skip: list[str] | None) -> list[Check]:
    from .checks import CHECKS
    from .selection import select_checks

    return select_checks(CHECKS, only or (), skip or ())


def _body(given: str, content_type: str) -> Body:
    from .body import given_body

    if given.lstrip().startswith("{"):
        return given_body(given.encode(errors="surrogateescape"), content_type)
    try:
        return given_body(Path(given).read_bytes(), content_type)
    except (OSError, ValueError) as error:
        raise ValueError(f"--body {given}: {error}") from None


def _process(pid: int) -> int:
    if pid < 1 or pid == os.getpid():
        raise ValueError(f"--drain {pid} is not the process of a server")
    try:
        os.kill(pid, 0)
    except OSError as error:
        raise ValueError(f"--drain {pid}: {error.strerror}") from None
    return pid


def _container(
    url: str,
    api_key: str | None,
    timeout: float,
    deadline: float,
    options: Options,
) -> Container:
    from .address import parse_address
    from .client import Client
    from .container import Container

    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("--api-key has characters that a header cannot carry")
    try:
        address = parse_address(url)
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    return Container(Client(address, api_key or None, timeout, deadline), options)


def _run(
    container: Container,
    checks: list[Check],
    output_format: Format,
    wait: float,
    docs: str | None,
) -> Report:
    from .formats.text import lines_of
    from .runner import run

    def show(result: Result) -> None:
        for line in lines_of(result):
            typer.echo(line, err=output_format != "text")

    try:
        with _interrupted_by_sigterm():
            return run(container, checks, show, wait=wait, docs=docs)
    except KeyboardInterrupt:
        _fail(f"interrupted; {_describe_left(container)}", _INTERRUPTED)


def _describe_left(container: Container) -> str:
    if not container.adapters:
        return "what was registered is removed"
    return f"not removed: adapters {', '.join(container.adapters)}"


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM as SIGINT within the block, so that adapters are removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(report: Report, output_format: Format, files: list[Path]) -> None:
    from .formats import FORMATS, SUFFIXES
    from .formats.text import closing_lines

    if output_format == "text":
        typer.echo("\n".join(closing_lines(report)))
    else:
        typer.echo(FORMATS[output_format](report), nl=False)
    for file in files:
        text = FORMATS[SUFFIXES[file.suffix]](report)
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            _fail(f"{file}: {error.strerror}")


def _print_any_text() -> None:
    """Replace what the terminal's encoding lacks, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


def _fail(problem: str, status: int = _USAGE_ERROR) -> NoReturn:
    typer.echo(f"mhcs check: {problem}", err=True)
    raise typer.Exit(status)
