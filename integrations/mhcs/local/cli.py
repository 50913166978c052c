"""The command ``mhcs local``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, NoReturn
from urllib.parse import urlsplit

import typer

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import read_settings

from .limits import MAX_STARTUP_S, Limits

_DEFAULTS: Final = Limits()
#: Packages that every engine brings.
_REQUIRED: Final = ("httpx", "uvicorn")
_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")
_EXTRA: Final = "model-hosting-container-standards[local]"


def local(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            help="The command that starts the container, behind --. Without it, the "
            "container runs already."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address of the endpoint.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")
    ] = 9000,
    container: Annotated[
        str | None,
        typer.Option(
            help="The container's URL; by default http://127.0.0.1:8080, or the port "
            "of SAGEMAKER_BIND_TO_PORT."
        ),
    ] = None,
    inference_component: Annotated[
        list[str] | None,
        typer.Option(
            help="An inference component: NAME for the base model, NAME=FOLDER for an "
            "adapter. May be repeated."
        ),
    ] = None,
    s3_folder: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="The folder that stands for S3 in asynchronous invocations: "
            "s3://BUCKET/KEY is FOLDER/BUCKET/KEY.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that an invocation may take.")
    ] = _DEFAULTS.invocation_s,
    stream_timeout: Annotated[
        float, typer.Option(help="Seconds that a stream may take.")
    ] = _DEFAULTS.stream_s,
    startup_timeout: Annotated[
        float,
        typer.Option(
            help="Seconds until /ping has to be 200, and to register each adapter."
        ),
    ] = _DEFAULTS.startup_s,
    beyond_limits: Annotated[
        bool,
        typer.Option("--beyond-limits", help="Allow longer times than SageMaker has."),
    ] = False,
) -> None:
    """Serve boto3 as a SageMaker endpoint does: mhcs local -- vllm serve MODEL."""
    limits = Limits(timeout, stream_timeout, startup_timeout)
    _check_installed()
    _check_limits(limits, beyond=beyond_limits)
    # Imported here, as the other commands do not need it, and uvicorn may be missing.
    from .components import parse_components
    from .server import Options, run

    try:
        options = Options(
            host,
            port,
            _container_url(container, port),
            command or (),
            parse_components(inference_component or ()),
            limits,
            s3_folder,
        )
    except (ConfigurationError, ValueError) as error:
        _fail(str(error))
    try:
        status = run(options, _report)
    except OSError as error:
        _fail(f"{error}")
    raise typer.Exit(status)


def _check_installed() -> None:
    missing = [name for name in _REQUIRED if find_spec(name) is None]
    if missing:
        _fail(
            f"{' and '.join(missing)} missing here: install an engine, or "
            f"pip install '{_EXTRA}'."
        )


def _check_limits(limits: Limits, *, beyond: bool) -> None:
    for option, seconds, longest in (
        ("--timeout", limits.invocation_s, _DEFAULTS.invocation_s),
        ("--stream-timeout", limits.stream_s, _DEFAULTS.stream_s),
        ("--startup-timeout", limits.startup_s, MAX_STARTUP_S),
    ):
        if not seconds > 0:  # nan is no number of seconds either.
            _fail(f"{option} {seconds:g} is not allowed: give a number above 0.")
        if seconds > longest and not beyond:
            _fail(
                f"{option} {seconds:g} is longer than SageMaker's {longest:g} s: add "
                "--beyond-limits to allow it."
            )


def _container_url(given: str | None, port: int) -> str:
    """Return the container's URL, without a slash at the end.

    Args:
        given: the URL of the command line.
        port: the endpoint's.

    Raises:
        ConfigurationError: the port of the environment is not allowed.
        ValueError: it is not a URL, or that of the endpoint.
    """
    url = given or f"http://127.0.0.1:{read_settings().port}"
    if not _is_address(url):
        raise ValueError(
            f"--container {url} is not allowed: give one like http://127.0.0.1:8080."
        )
    parts = urlsplit(url)
    if parts.hostname in _THIS_MACHINE and parts.port == port:
        raise ValueError(
            f"The endpoint and the container cannot both have port {port}: give "
            "another --port."
        )
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    """Whether a URL has a host, perhaps a port, and nothing else."""
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018 - raises ValueError for one that is not allowed.
    except ValueError:
        return False
    is_bare = url.rstrip("/") == f"http://{parts.netloc}"
    return is_bare and bool(parts.hostname) and "@" not in parts.netloc


def _report(sentence: str) -> None:
    typer.echo(f"mhcs local: {sentence}", err=True)


def _fail(problem: str) -> NoReturn:
    _report(problem)
    raise typer.Exit(1)
