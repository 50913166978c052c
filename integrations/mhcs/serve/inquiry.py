"""Asks an engine's own parser, in a process of its own.

The parser is as old or new as the engine, and knows what each option takes. It comes
with most of the engine, whose import takes seconds, may fail, and must not happen in
the process that supervises the engine. So it is asked only where something is in doubt;
and where it cannot be asked, the engine is started without.
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

#: A large engine is read from a cold disk meanwhile, which it need not be again.
_LIMIT_S: Final = 90.0
#: Nothing is patched there, and no library for several machines set up.
_ENVIRONMENT: Final = {"MHCS_AUTO": "0", "MPI4PY_RC_INITIALIZE": "0"}


class Inquiry(msgspec.Struct):
    """What the other process is asked."""

    engine: str
    variables: Sequence[EngineVariable]
    others: Sequence[str]


def ask(inquiry: Inquiry) -> Arguments | None:
    """Return the arguments as the parser wants them; None where there is no answer.

    Raises:
        Interrupted: this process is to end.
    """
    with TemporaryDirectory(prefix="mhcs-") as folder:
        question, answer = Path(folder, "question"), Path(folder, "answer")
        question.write_bytes(msgspec.json.encode(inquiry))
        command = [sys.executable, "-m", __name__, str(question), str(answer)]
        with Path(folder, "errors").open("w+", errors="replace") as errors:
            reason = _run(command, errors.fileno())
            if answer.exists():
                return msgspec.json.decode(answer.read_bytes(), type=Arguments)
            lines = Path(errors.name).read_text(errors="replace").splitlines()
    logger.info(
        "%s cannot be asked for its options (%s): %s",
        inquiry.engine,
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
        return f"no answer after {_LIMIT_S:.0f} s"
    return f"status {status}"


def answer(question: Path, output: Path) -> None:
    """Answer, in the other process; there is no answer where there is no parser."""
    inquiry = msgspec.json.decode(question.read_bytes(), type=Inquiry)
    engines = {engine.name: engine for engine in installed_engines()}
    command = engines[inquiry.engine].command
    if command is None or (parser := command.parser()) is None:
        return
    written = write_all(inquiry.variables, command, parser, inquiry.others)
    new = output.with_name("new")
    new.write_bytes(msgspec.json.encode(written))
    new.rename(output)


if __name__ == "__main__":
    answer(Path(sys.argv[1]), Path(sys.argv[2]))
