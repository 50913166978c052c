"""Measures how long it takes to register, list and first use adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from adapter_requests import (
    NAMES,
    AdapterRequest,
    ask_for,
    registration,
    write_adapter,
)
from environments import OURS
from sides import Script, Side

COUNTS: Final = (8, 1000)
_NEW: Final = "new-adapter"
#: Milliseconds by operation.
Operations = Mapping[str, float]


def measure_operations(rounds: int, count: int) -> Operations:
    """Return the median times while ``count`` other adapters are registered."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        with closing(server):
            for name in NAMES[:count]:
                server.register(name)
            return medians(pair for _ in range(rounds) for pair in server.measure())


def medians(pairs: Iterable[tuple[str, float]]) -> Operations:
    """Return the median of each operation."""
    times: dict[str, list[float]] = {}
    for operation, taken in pairs:
        times.setdefault(operation, []).append(taken)
    return {operation: median(taken) for operation, taken in times.items()}


class Server:
    """Two processes of one server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new = write_adapter(folder / _NEW)
        side = Side("ours", OURS)
        with ExitStack() as stack:
            self._first, self._second = (
                stack.enter_context(
                    closing(Script(side, "adapter_worker.py", str(folder / "state")))
                )
                for _ in range(2)
            )
            self.close = stack.pop_all().close

    def register(self, name: str) -> None:
        _time(self._first, registration(name, write_adapter(self._folder / name)))

    def measure(self) -> Iterator[tuple[str, float]]:
        """Yield operations and their times in milliseconds; the state is restored."""
        first, second = self._first, self._second
        known, new = ask_for(NAMES[0]), registration(_NEW, self._new)
        path = f"/adapters/{_NEW}"
        yield "register", _time(first, new)
        yield "request after it, same process", _time(first, known)
        yield "request after it, another process", _time(second, known)
        yield "the next request", _time(second, known)
        yield "register the same again", _time(first, new)
        yield "read", _time(first, AdapterRequest("GET", path))
        yield "list all", _time(first, AdapterRequest("GET", "/adapters"))
        yield "list 100", _time(first, AdapterRequest("GET", "/adapters?limit=100"))
        yield "unregister", _time(first, AdapterRequest("DELETE", path))


def _time(process: Script, request: AdapterRequest) -> float:
    process.send(asdict(request))
    taken: float = process.receive()
    return taken
