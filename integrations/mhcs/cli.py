"""The ``mhcs`` command."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Annotated, Final

import typer

from model_hosting_container_standards.config import Settings, read_settings
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerResolutionError,
)

from . import doctor
from .serve import command_of

#: What ``mhcs serve`` does unless it is told not to.
_ON_BY_DEFAULT: Final = (Settings.auto.name, Settings.restart_on_hang.name)

app = typer.Typer(
    help="SageMaker's hosting contract for an unchanged vLLM or TensorRT-LLM.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def run(
    command: Annotated[
        list[str], typer.Argument(help="The command and its arguments, behind --.")
    ],
) -> None:
    """Run a server with engines patched: mhcs run -- vllm serve MODEL."""
    os.environ["MHCS_AUTO"] = "1"
    try:
        os.execvp(command[0], command)
    except OSError as error:
        # The statuses a shell gives for a command it cannot find, or cannot run.
        typer.echo(f"mhcs run: {command[0]}: {error.strerror}", err=True)
        raise typer.Exit(127 if isinstance(error, FileNotFoundError) else 126) from None


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Arguments of the engine, which win; a model may be first."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command, and do not run it.")
    ] = False,
) -> None:
    """Serve this image's model with its engine, and keep it running."""
    try:
        command = command_of(read_settings(), os.environ, arguments or ())
    except (ConfigurationError, HandlerResolutionError, LookupError) as error:
        typer.echo(f"mhcs serve: {error}", err=True)
        raise typer.Exit(1) from None
    if dry_run:
        typer.echo(shlex.join(command))
        return
    for name in _ON_BY_DEFAULT:
        if not os.environ.get(name, "").strip():
            os.environ[name] = "true"
    # What supervises is nothing that the other commands should wait for.
    from model_hosting_container_standards.supervisor.launch import run as supervise

    sys.exit(supervise(command))


@app.command("doctor")
def show_doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Say what is patched, who answers which route, and what is configured wrongly."""
    report = doctor.examine()
    typer.echo(doctor.as_json(report) if as_json else doctor.as_text(report))
    raise typer.Exit(1 if report.problems else 0)


def main() -> None:
    """Run the command line."""
    app(args=sys.argv[1:], prog_name="mhcs")
