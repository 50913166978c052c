"""A front end's connection to the worker: ``llm._executor``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import socket
import subprocess
import threading
import uuid
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from tensorrt_llm.executor import CppExecutorError
from tensorrt_llm.executor.utils import EngineDeadError

from standins.trtllm_common import child, worker
from standins.trtllm_common.output import RequestOutput

_GRACE_S = 5.0


class Proxy:
    """A connection to this front end's worker, or to that of another front end.

    ``error`` is set once the worker has exited. If it was killed, running requests fail
    with ``CppExecutorError``. If it exited by itself, running requests get no response,
    as in the real one; the next request fails with the error, and later ones because
    the LLM is shutting down.
    """

    def __init__(self, address: str, owned: subprocess.Popen[bytes] | None) -> None:
        self.address = address
        self.error: Exception | None = None
        self._error_queue: queue.Queue[Exception] = queue.Queue()
        self.doing_shutdown = False
        self._is_lost = False
        self._owned = owned
        self._ids = itertools.count(1)
        self._promises: dict[int, RequestOutput] = {}
        self._questions: dict[int, asyncio.Future[Any]] = {}
        line = socket.socket(socket.AF_UNIX)
        line.connect(address)
        self._line = Connection(line.detach())
        self._sending = threading.Lock()
        self.worker_pid: int = self._line.recv()["hello"]
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @classmethod
    def launch(cls, config: Mapping[str, Any]) -> Proxy:
        """Start a worker, and wait until it has loaded its model."""
        # An abstract socket address, which leaves no file behind.
        address = f"\0trtllm-{uuid.uuid4().hex}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(64)
            fd = listener.fileno()
            process = child.spawn(
                worker.__name__, "__worker__", {**config, "fd": fd}, [fd]
            )
        return cls(address, process)

    # --- requests ------------------------------------------------------------------

    def submit(
        self, prompt: Any, max_tokens: int | None, lora: Mapping[str, Any] | None
    ) -> RequestOutput:
        """Send a request to the worker.

        Raises:
            RuntimeError: the worker has exited.
        """
        self._raise_background_error()
        promise = RequestOutput(next(self._ids), prompt, self._abort)
        self._promises[promise.request_id] = promise
        self._send(
            {
                "type": "generate",
                "id": promise.request_id,
                "prompt": prompt,
                "max_tokens": max_tokens,
                "lora": lora,
            }
        )
        return promise

    async def ask(self, what: str) -> Any:
        """Return the worker's ``facts``, or its ``stats``, which clears them."""
        question = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._questions[question] = answer
        self._send({"type": what, "id": question})
        if self._is_lost:  # The worker may not have received the question.
            _settle(answer, None)
        return await answer

    def check_health(self) -> bool:
        return self.error is None and not self.doing_shutdown

    def is_connected(self) -> bool:
        return self._listener.is_alive()

    def shutdown(self) -> None:
        """Stop the worker, if this front end has started it."""
        self.doing_shutdown = True
        if self._owned is None:
            return
        assert self._owned.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._owned.stdin.close()
        try:
            self._owned.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._owned.kill()
            self._owned.wait()

    # --- helpers --------------------------------------------------------------------

    def _raise_background_error(self) -> None:
        if self.doing_shutdown:
            raise RuntimeError("LLM is shutting down")
        if self.error is not None:
            self.doing_shutdown = not isinstance(self.error, CppExecutorError)
            raise self.error

    def _abort(self, request_id: int) -> None:
        self._send({"type": "abort", "id": request_id})

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._line.send(message)

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._take(self._line.recv())
        self._lose()

    def _take(self, message: Mapping[str, Any]) -> None:
        if "dies_of" in message:
            self._die(RuntimeError(message["dies_of"]))
        elif "answer" in message:
            answered = self._questions.pop(message["answer"])
            answered.get_loop().call_soon_threadsafe(
                _settle, answered, message["value"]
            )
        else:
            self._promises[message["id"]].put(message)
            if "token" not in message:
                del self._promises[message["id"]]

    def _lose(self) -> None:
        self._is_lost = True
        for answered in list(self._questions.values()):
            answered.get_loop().call_soon_threadsafe(_settle, answered, None)
        if self.error is None and not self.doing_shutdown:
            self._die(CppExecutorError("The worker is gone."))
            self._tell_all(CppExecutorError("The worker is gone."))

    def _die(self, error: Exception) -> None:
        self.error = error
        self._error_queue.put(error)

    def _tell_all(self, error: Exception) -> None:
        for promise in list(self._promises.values()):
            promise.put(error)


class MonitoredProxy(Proxy):
    """The connection since 1.3: once the worker has exited, all requests fail at once.

    It notices the exit itself, and logs it before any request.
    """

    _fatal_error: Exception | None = None

    def check_health(self) -> bool:
        return self._fatal_error is None and not self.doing_shutdown

    def _raise_background_error(self) -> None:
        if self._fatal_error is not None:
            raise EngineDeadError(f"Engine is dead: {self._fatal_error}")
        super()._raise_background_error()

    def _die(self, error: Exception) -> None:
        self.error = self._fatal_error = error
        self.doing_shutdown = True
        self._tell_all(EngineDeadError(f"Engine is dead: {error}"))


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
