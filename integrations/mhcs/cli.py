"""The ``mhcs`` command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated, Final, NoReturn

import typer

from model_hosting_container_standards.engines.command import USAGE_ERROR
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerResolutionError,
)
from model_hosting_container_standards.logging_config import (
    configure_logging,
    get_logger,
)
from model_hosting_container_standards.settings import Settings, read_settings
from model_hosting_container_standards.supervisor.child import Interrupted
from model_hosting_container_standards.supervisor.command_line import (
    start_failure_status,
)
from model_hosting_container_standards.supervisor.user_folders import (
    check_temporary_folder,
)

from .check.command_line import check
from .local.cli import local
from .serve import Plan, check_server, make_plan

logger = get_logger(__name__)

#: Variables that ``mhcs serve`` sets to true unless they are set.
_ON_BY_DEFAULT: Final = (Settings.auto.name, Settings.restart_on_hang.name)

app = typer.Typer(
    help="SageMaker's hosting contract for an unchanged engine.",
    no_args_is_help=True,
    add_completion=False,
    # Older releases show them by default: a traceback would have the key of --api-key.
    pretty_exceptions_show_locals=False,
)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def run(
    command: Annotated[
        list[str], typer.Argument(help="The command and its arguments, behind --.")
    ],
) -> None:
    """Run a command with patched engines: mhcs run -- vllm serve MODEL."""
    os.environ["MHCS_AUTO"] = "1"
    try:
        os.execvp(command[0], command)
    except OSError as error:
        status = start_failure_status(error)
        _fail("run", f"{command[0]}: {error.strerror}", status=status)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Arguments for the engine, which override variables; a model may be "
            "the first."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command without running it.")
    ] = False,
) -> None:
    """Serve the image's model with its engine, and restart it on crashes."""
    plan = _plan(arguments or ())
    if dry_run and plan.model is not None:
        typer.echo(shlex.join(plan.command))
    if plan.problems:
        _fail("serve", *plan.problems)
    if dry_run:
        return
    _report_ignored(plan)
    _set_defaults()
    # Imported here, as the other commands do not need it.
    from model_hosting_container_standards.supervisor.launch import run as supervise

    status = supervise(plan.command)
    if status == USAGE_ERROR and not plan.is_checked:
        # The engine has named the option that it rejects; this names the variable.
        _fail("serve", *_plan(arguments or (), check=True).problems, status=status)
    sys.exit(status)


def _report_ignored(plan: Plan) -> None:
    """Report the variables and options that the plan ignores."""
    if plan.links:
        names = ", ".join(plan.links)
        logger.info("Ignoring service links of Kubernetes: %s", names)
    for note in plan.notes:
        typer.echo(f"mhcs serve: {note}", err=True)


def _set_defaults() -> None:
    """Set the variables of :data:`_ON_BY_DEFAULT` that are unset or empty."""
    for name in _ON_BY_DEFAULT:
        if not os.environ.get(name, "").strip():
            os.environ[name] = "true"


def _plan(arguments: Sequence[str], *, check: bool = False) -> Plan:
    try:
        check_temporary_folder()
        settings = read_settings()
        check_server(settings)
        configure_logging(settings.log_level, settings.log_format)
        return make_plan(settings, os.environ, arguments, check=check)
    except (
        ConfigurationError,
        FileNotFoundError,
        HandlerResolutionError,
        LookupError,
    ) as error:
        _fail("serve", str(error))
    except Interrupted as end:
        raise typer.Exit(end.status) from None


def _fail(command: str, *problems: str, status: int = 1) -> NoReturn:
    """Print the problems to standard error, and exit."""
    for problem in problems:
        typer.echo(f"mhcs {command}: {problem}", err=True)
    raise typer.Exit(status)


@app.command("doctor")
def show_doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON.")
    ] = False,
) -> None:
    """Show what is patched, which handlers answer, and what is misconfigured."""
    # Imported here: it imports FastAPI, for which `mhcs serve` would wait.
    from . import doctor

    try:
        report = doctor.examine()
    except Interrupted as end:
        raise typer.Exit(end.status) from None
    typer.echo(doctor.as_json(report) if as_json else doctor.as_text(report))
    raise typer.Exit(1 if report.problems else 0)


app.command("check")(check)
app.command(context_settings={"allow_interspersed_args": False})(local)


def main() -> None:
    """Run the command line."""
    app(args=sys.argv[1:], prog_name="mhcs")
