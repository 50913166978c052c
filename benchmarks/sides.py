"""The compared sides, as worker processes that measure on request."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connection import Connection
from environments import NEWEST, OURS, PUBLISHED, Environment
from traffic import CASES, Case, Setup

_HERE: Final = Path(__file__).resolve().parent
#: A minimal environment: other variables could change the results.
PLAIN_ENVIRON: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
_SECONDS: Final = 10

#: Microseconds per request: of the bare app, and of the decorated one.
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Side:
    """A package in an environment, compared with the bare app in that environment."""

    name: str
    environment: Environment

    def has(self, case: Case) -> bool:
        """Whether the package supports the case; the published one lacks some."""
        setup = case.setup
        return self.environment.ours or not (setup.registered or setup.operations)


SIDES: Final = (
    Side("published", PUBLISHED),
    Side("ours", OURS),
    Side("newest", NEWEST),
)


class Script:
    """A script that runs in a side's environment until its input is closed."""

    def __init__(self, side: Side, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [side.environment.python, str(_HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=PLAIN_ENVIRON,
        )

    def send(self, order: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Return the script's next line, decoded from JSON.

        Raises:
            ChildProcessError: the script has exited.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self._process.args!r} ended; see above")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class InProcess:
    """Calls a side's apps directly, in one process per setup, started on demand."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._scripts: dict[Setup, Script] = {}

    def measure(self, case: Case, rounds: int) -> list[Pair]:
        script = self._scripts.get(case.setup) or self._start(case.setup)
        script.send({"case": case.name, "rounds": rounds})
        return [(bare, decorated) for bare, decorated in script.receive()]

    def close(self) -> None:
        for script in self._scripts.values():
            script.close()

    def _start(self, setup: Setup) -> Script:
        names = [case.name for case in CASES.values() if case.setup == setup]
        script = self._scripts[setup] = Script(self._side, "worker.py", *names)
        return script


class OverLoopback:
    """Sends requests to a side's apps through uvicorn."""

    def __init__(self, side: Side) -> None:
        self._script = Script(side, "server.py")
        self._bare, self._decorated = map(Connection, self._script.receive())

    def measure(self, case: Case, rounds: int) -> list[Pair]:
        pairs = [
            (
                self._bare.measure(case, case.calls),
                self._decorated.measure(case, case.calls),
            )
            for _ in range(rounds + 1)
        ]
        return pairs[1:]

    def close(self) -> None:
        self._bare.close()
        self._decorated.close()
        self._script.close()
