"""Run an engine's own parser in a separate process.

Only the parser of the installed release knows what each option takes. It needs most of
the engine, whose import takes seconds, may fail, and must not happen in the supervising
process. So it is used only if a variable needs it; without a result, the engine is
started anyway.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.supervisor.child import run_to_completion

from .arguments import Arguments, write_all
from .variables import EngineVariable

logger = get_logger(__name__)

#: Seconds for the parser. A large engine is read from a cold disk meanwhile, which
#: shortens its start.
_LIMIT_S: Final = 90.0
#: Variables of the process: no patches, no initialisation of MPI.
_ENVIRONMENT: Final = {"MHCS_AUTO": "0", "MPI4PY_RC_INITIALIZE": "0"}


class ParserRequest(msgspec.Struct):
    """The input of the parser's process.

    Args:
        engine: the engine's name.
        others: further arguments, which are only checked.
    """

    engine: str
    variables: Sequence[EngineVariable]
    others: Sequence[str]


def ask(question: ParserRequest) -> Arguments | None:
    """Return the arguments as the parser requires them; None if it cannot be run.

    Raises:
        Interrupted: this process received a terminating signal.
    """
    with TemporaryDirectory(prefix="mhcs-") as folder:
        request, result = Path(folder, "request"), Path(folder, "result")
        request.write_bytes(msgspec.json.encode(question))
        command = [sys.executable, "-m", __name__, str(request), str(result)]
        with Path(folder, "errors").open("w+", errors="replace") as errors:
            reason = _run(command, errors.fileno())
            if result.exists():
                return msgspec.json.decode(result.read_bytes(), type=Arguments)
            lines = Path(errors.name).read_text(errors="replace").splitlines()
    logger.info(
        "Cannot check arguments with the parser of %s (%s): %s",
        question.engine,
        reason,
        lines[-1] if lines else "no message",
    )
    return None


def _run(command: Sequence[str], errors: int) -> str:
    try:
        status = run_to_completion(
            command,
            time.monotonic() + _LIMIT_S,
            env={**os.environ, **_ENVIRONMENT},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    except TimeoutError:
        return f"no result after {_LIMIT_S:.0f} s"
    return f"status {status}"


def answer(request: Path, result: Path) -> None:
    """Write the result file, in the parser's process; nothing without a parser."""
    question = msgspec.json.decode(request.read_bytes(), type=ParserRequest)
    engines = {engine.name: engine for engine in installed_engines()}
    command = engines[question.engine].command
    if command is None or (parser := command.parser()) is None:
        return
    written = write_all(question.variables, command, parser, question.others)
    temporary = result.with_name("new")
    temporary.write_bytes(msgspec.json.encode(written))
    temporary.rename(result)


if __name__ == "__main__":
    answer(Path(sys.argv[1]), Path(sys.argv[2]))
