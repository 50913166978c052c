"""The sides that are compared, as processes that measure when they are told to."""

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
#: Our variables, and whatever else may be set here, would change what is measured.
PLAIN_ENVIRON: Final = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
_SECONDS: Final = 10

#: Microseconds per request: of the bare app, and of the decorated one.
Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Side:
    """A package in an environment, next to the bare app in that environment."""

    name: str
    environment: Environment

    def has(self, case: Case) -> bool:
        """Whether the package can do it: the published one cannot do all of it."""
        setup = case.setup
        return self.environment.ours or not (setup.registered or setup.operations)


SIDES: Final = (
    Side("published", PUBLISHED),
    Side("ours", OURS),
    Side("newest", NEWEST),
)


class Script:
    """One of our scripts in a side's environment; it ends when its input does."""

    def __init__(self, side: Side, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [side.environment.python, str(_HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=PLAIN_ENVIRON,
        )

    def tell(self, order: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Return the next line it writes.

        Raises:
            ChildProcessError: it ended instead.
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
    """Calls a side's apps directly. Each setup has a process, started when needed."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._scripts: dict[Setup, Script] = {}

    def measure(self, case: Case, rounds: int) -> list[Pair]:
        script = self._scripts.get(case.setup) or self._start(case.setup)
        script.tell({"case": case.name, "rounds": rounds})
        return [(bare, decorated) for bare, decorated in script.hear()]

    def close(self) -> None:
        for script in self._scripts.values():
            script.close()

    def _start(self, setup: Setup) -> Script:
        names = [case.name for case in CASES.values() if case.setup == setup]
        script = self._scripts[setup] = Script(self._side, "worker.py", *names)
        return script


class OverLoopback:
    """Asks a side's apps through uvicorn."""

    def __init__(self, side: Side) -> None:
        self._script = Script(side, "server.py")
        self._bare, self._decorated = map(Connection, self._script.hear())

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
