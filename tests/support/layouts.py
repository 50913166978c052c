"""Start the stand-ins for vLLM.

Each folder of ``tests/support/standins`` has a package ``vllm``, laid out as in the
release that it is named after. As the first folder on ``PYTHONPATH``, it takes
precedence over a real vLLM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from servers import UNMEASURED, Exit, Server, serve_until_exit

SUPPORT: Final = Path(__file__).parent
STANDINS: Final = SUPPORT / "standins"
CUSTOMER: Final = STANDINS / "customer"

LAYOUTS: Final = ("v0_6", "v0_10", "v0_28", "v0_29")
#: The layout whose servers are measured. Coverage slows each start down, and the others
#: execute the same code.
MEASURED: Final = "v0_29"
#: Releases that call ``bootstrap`` themselves.
CALL_BOOTSTRAP: Final = ("v0_28", "v0_29")

MODEL: Final = "standin"
SERVE: Final = ("vllm", "serve", MODEL)
API_SERVER: Final = "vllm.entrypoints.openai.api_server"
PYTHON_M: Final = (sys.executable, "-m", API_SERVER, "--model", MODEL)
LAUNCH: Final = (sys.executable, str(CUSTOMER / "launch.py"), "serve", MODEL)

# The folder of this environment's commands: `mhcs`, and the `python` of scripts.
_SCRIPTS: Final = Path(sys.executable).parent
MHCS_RUN: Final = (str(_SCRIPTS / "mhcs"), "run", "--")

#: Makes the server import a file before its app is built. It registers handlers without
#: a variable that enables patches.
PLUGIN: Final = ("--tool-parser-plugin", str(CUSTOMER / "model.py"))


def environment_of(layout: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return ``env`` and the variables that put the layout on the path."""
    return {
        "PATH": os.pathsep.join(
            [str(STANDINS / "bin"), str(_SCRIPTS), os.environ["PATH"]]
        ),
        "PYTHONPATH": os.pathsep.join([str(STANDINS / layout), str(SUPPORT)]),
        **({} if layout == MEASURED else UNMEASURED),
        **(env or {}),
    }


def standin(layout: str, *command: str, env: Mapping[str, str] | None = None) -> Server:
    """Return a server of the layout; the command is ``vllm serve`` by default."""
    return Server(command or SERVE, environment_of(layout, env))


def fail_to_start(
    layout: str, *command: str, env: Mapping[str, str] | None = None
) -> Exit:
    """Run a server of the layout that must exit within seconds."""
    variables = environment_of(layout, env)
    return serve_until_exit(command or SERVE, variables)
