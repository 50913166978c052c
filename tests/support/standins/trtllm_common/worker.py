"""The engine: one process behind every front end of a server.

It listens on a socket that its launcher has bound, and exits with its launcher. Up to
1.2, a bad adapter ends it: only a ``RequestError`` is reported; any other exception
ends the worker's loop, running requests get no response, and the front end continues
without an engine. Since 1.3, loading errors are wrapped. ``kills`` or ``fails`` in
``TRTLLM_STANDIN_BAD_ADAPTER`` overrides this.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from tensorrt_llm.executor.utils import RequestError

from standins.trtllm_common import child, postprocess
from standins.trtllm_common.answering import generate, tokens_of
from standins.trtllm_common.release import since
from standins.trtllm_common.weights import LOAD_ERRORS, Adapters


def run(config: Mapping[str, Any]) -> None:
    # Signals are ignored: the launcher stops it after the last request.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    helpers = [
        child.spawn(postprocess.__name__, "__mp_main__", {})
        for _ in range(config["num_postprocess_workers"])
    ]
    Worker(config["lora_config"], helpers).serve(socket.socket(fileno=config["fd"]))


class Worker:
    def __init__(
        self,
        lora_config: Mapping[str, Any] | None,
        helpers: list[subprocess.Popen[bytes]],
    ) -> None:
        self.adapters = Adapters(lora_config)
        self.helpers = helpers
        #: One entry for each generation; reading clears them.
        self.stats: deque[dict[str, int]] = deque()
        self.generations = 0
        self.lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        while True:
            accepted, _ = listener.accept()
            frontend = Frontend(self, Connection(accepted.detach()))
            threading.Thread(target=frontend.read, daemon=True).start()

    def weights(self, lora: Mapping[str, Any] | None) -> str:
        with self.lock:
            self.generations += 1
            self.stats.append({"iter": self.generations})
            try:
                return self.adapters.text(lora)
            except LOAD_ERRORS as error:
                if _bad_adapter_kills():
                    raise
                raise RequestError(f"Failed to load LoRA adapter: {error}") from error

    def drained_stats(self) -> list[dict[str, int]]:
        with self.lock:
            drained = list(self.stats)
            self.stats.clear()
        return drained

    def facts(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "run_name": sys.modules["__main__"].__name__,
            "generations": self.generations,
            "loads": self.adapters.loads,
            "postprocess_pids": [helper.pid for helper in self.helpers],
            "environment": sorted(os.environ),
            "modules": sorted(sys.modules),
        }


class Frontend:
    """The worker's side of a front end's connection."""

    def __init__(self, worker: Worker, connection: Connection) -> None:
        self.worker = worker
        self.connection = connection
        self.aborts: dict[int, threading.Event] = {}
        self.lock = threading.Lock()

    def read(self) -> None:
        self.send({"hello": os.getpid()})
        while True:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                return
            getattr(self, f"on_{message['type']}")(message)

    def send(self, message: Mapping[str, Any]) -> None:
        with self.lock:
            try:
                self.connection.send(message)
            except OSError:
                self.connection.close()  # The front end has disconnected.

    def on_generate(self, request: Mapping[str, Any]) -> None:
        self.aborts[request["id"]] = threading.Event()
        threading.Thread(target=self._generate, args=(request,), daemon=True).start()

    def on_abort(self, message: Mapping[str, Any]) -> None:
        if event := self.aborts.get(message["id"]):
            event.set()

    def on_stats(self, message: Mapping[str, Any]) -> None:
        self.send({"answer": message["id"], "value": self.worker.drained_stats()})

    def on_facts(self, message: Mapping[str, Any]) -> None:
        self.send({"answer": message["id"], "value": self.worker.facts()})

    def _generate(self, request: Mapping[str, Any]) -> None:
        key = request["id"]
        try:
            weights = self.worker.weights(request["lora"])
        except RequestError as error:
            self.send({"id": key, "error": str(error)})
        except LOAD_ERRORS as error:
            self.send({"dies_of": f"{error}"})
            os._exit(1)
        else:
            self._answer(key, weights, request)
        del self.aborts[key]

    def _answer(self, key: int, weights: str, request: Mapping[str, Any]) -> None:
        everything = tokens_of(weights, request["prompt"])
        tokens = everything[: request["max_tokens"]]
        waits = "<wait>" in str(request["prompt"])
        for token in generate(tokens, waits, aborted := self.aborts[key]):
            self.send({"id": key, "token": token})
        cut = len(tokens) < len(everything)
        reason = "cancelled" if aborted.is_set() else "length" if cut else "stop"
        self.send({"id": key, "reason": reason})


def _bad_adapter_kills() -> bool:
    default = "fails" if since(1, 3) else "kills"
    return os.environ.get("TRTLLM_STANDIN_BAD_ADAPTER", default) == "kills"
