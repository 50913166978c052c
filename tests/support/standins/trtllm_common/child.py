"""Child processes that run the parent's script again, as in mpi4py's pool.

    python -m standins.trtllm_common.child MODULE SCRIPT RUN_NAME

A worker's script runs under the name ``__worker__``, a post-processor's under
``__mp_main__``: so the imports of the console script run and trigger import hooks, but
``main`` is not called. Then ``MODULE.run`` gets the first line of standard input, as
JSON. A child exits when its standard input is closed, and so when its parent exits.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STRIPPED = ("MPI_", "OMPI_", "PMIX_", "PMI_", "SLURM_", "UCX_")


def environment_without_mpi() -> dict[str, str]:
    """Return the variables without those of MPI and job schedulers."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_STRIPPED)}


def spawn(
    module: str,
    run_name: str,
    config: Mapping[str, Any],
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child of this process."""
    script = str(Path(str(sys.modules["__main__"].__file__)).resolve())
    command = [sys.executable, "-m", __name__, module, script, run_name]
    child = subprocess.Popen(
        command,
        env=environment_without_mpi(),
        stdin=subprocess.PIPE,
        pass_fds=pass_fds,
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(config).encode() + b"\n")
    child.stdin.flush()
    return child


def end_with_standard_input() -> None:
    """Exit when standard input is closed."""
    threading.Thread(target=_exit_at_eof, daemon=True).start()


def _exit_at_eof() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _run_script(script: str, run_name: str) -> None:
    module = types.ModuleType(run_name)
    module.__dict__.update(runpy.run_path(script, run_name=run_name))
    # Later pickling and spawning look the script up there.
    sys.modules["__main__"] = sys.modules[run_name] = module


def main() -> None:
    module, script, run_name = sys.argv[1:]
    config = json.loads(_first_line())
    end_with_standard_input()
    sys.argv[:] = [script]
    _run_script(script, run_name)
    importlib.import_module(module).run(config)


def _first_line() -> bytes:
    # Unbuffered: the thread that waits for end of file reads the rest.
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


if __name__ == "__main__":
    main()
