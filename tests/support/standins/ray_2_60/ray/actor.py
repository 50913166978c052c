"""Actors. Each has an event loop in a thread of its own, and can be killed.

Arguments and results are pickled, as between processes. A process that was killed has
no effects any more, although its thread cleans up.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import pickle
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

#: The process that runs the current task.
CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
#: All that have been started.
processes: list[Process] = []
actors: dict[tuple[str, str], Actor] = {}


def _view_of(values: dict[Any, Any]) -> Any:
    return MappingProxyType(values)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Pickle views of dicts, as cloudpickle does, which Ray uses."""
        if isinstance(value, MappingProxyType):
            return _view_of, (dict(value),)
        return NotImplemented


def copied(value: Any) -> Any:
    """Return what another process receives."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return pickle.loads(file.getvalue())


class ObjectRef:
    """The result of a call."""

    def __init__(self, result: Future[Any]) -> None:
        self._result = result

    def future(self) -> Future[Any]:
        """Return a future; to cancel it does not end the call."""
        future: Future[Any] = Future()

        def set_result(result: Future[Any]) -> None:
            if not future.set_running_or_notify_cancel():
                return
            if (error := result.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(result.result())

        self._result.add_done_callback(set_result)
        return future

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self.future()).__await__()


def failed(error: Exception) -> ObjectRef:
    result: Future[Any] = Future()
    result.set_exception(error)
    return ObjectRef(result)


class Process:
    """A process of a cluster: a thread with an event loop."""

    def __init__(self) -> None:
        self.has_ended = False
        self._lock = threading.Lock()
        self._calls: dict[Future[Any], asyncio.Task[None] | None] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._main(),), daemon=True
        )
        self._thread.start()
        self._started.wait()
        processes.append(self)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._started.set()
        await self._end.wait()

    def call(
        self, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> ObjectRef:
        """Call an async function in the process."""
        caller = CURRENT.get()
        if caller is not None and caller.has_ended:
            return failed(ActorDiedError("The caller has ended."))
        args, options = copied((args, options))
        result: Future[Any] = Future()
        with self._lock:
            if self.has_ended:
                return failed(ActorDiedError("The actor has ended."))
            self._calls[result] = None
            run = self._run(result, function, args, options)
            self._loop.call_soon_threadsafe(self._start, result, run)
        return ObjectRef(result)

    def _start(self, result: Future[Any], run: Any) -> None:
        task = self._loop.create_task(run)
        if result in self._calls:
            self._calls[result] = task

    async def _run(
        self, result: Future[Any], function: Any, args: Any, options: Any
    ) -> None:
        CURRENT.set(self)
        try:
            value = copied(await function(*args, **options))
        except Exception as error:  # noqa: BLE001 # As Ray does.
            task_error = RayTaskError.of(error)
            self._finish(result, lambda: result.set_exception(task_error))
        else:
            self._finish(result, lambda: result.set_result(value))

    def _finish(self, result: Future[Any], finish: Callable[[], None]) -> None:
        with self._lock:
            if self._calls.pop(result, self) is self:
                return  # It was cancelled, or the process has ended.
        finish()

    def cancel(self, call: ObjectRef) -> None:
        """Cancel a call that is running."""
        with self._lock:
            task = self._calls.pop(call._result, None)
        if task is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def kill(self) -> None:
        """End at once: running calls fail."""
        with self._lock:
            if self.has_ended:
                return
            self.has_ended = True
            calls, self._calls = self._calls, {}
            self._loop.call_soon_threadsafe(self._end.set)
        for call in calls:
            call.set_exception(ActorDiedError("The actor has ended."))

    def join(self) -> None:
        self._thread.join()


class Method:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class Actor:
    """A named actor, which is restarted when it ends."""

    def __init__(self, cls: type, args: Any) -> None:
        self._cls = cls
        self._args = copied(args)
        self._lock = threading.Lock()
        self.is_dead = False
        #: The number of calls that fail before it is restarted.
        self._refusing = 0
        #: Ends the actor after a call, before its result is sent.
        self.dies_after: Callable[..., bool] = lambda *_: False
        self._start()

    def _start(self) -> None:
        self._process = Process()
        try:
            self._process.call(self._create).future().result()
        except RayTaskError:
            # Ray does not restart an actor whose constructor has failed.
            self._process.kill()
            self.is_dead = True

    async def _create(self) -> None:
        self._object = self._cls(*self._args)

    def call(self, method: str, *args: Any, **options: Any) -> ObjectRef:
        with self._lock:
            if self._refusing:
                self._refusing -= 1
                if not self._refusing:
                    self._start()
                return failed(ActorUnavailableError("The actor is being restarted."))
        if self.is_dead:
            return failed(ActorDiedError("The actor has ended."))
        return self._process.call(self._carry_out, method, *args, **options)

    async def _carry_out(self, method: str, *args: Any, **options: Any) -> Any:
        result = await getattr(self._object, method)(*args, **options)
        if self.dies_after(method, *args):
            self.kill()
        return result

    def kill(self, refusing: int = 1) -> None:
        """End the process; the actor is restarted once this many calls have failed."""
        self.dies_after = lambda *_: False
        self._refusing = refusing
        self._process.kill()

    def end(self) -> None:
        """End the process for good, as ``ray.kill`` does by default."""
        self.is_dead = True
        self._process.kill()


class ActorHandle:
    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Method:
        return Method(lambda *args, **options: self._actor.call(name, *args, **options))


class ActorClass:
    """What ``ray.remote`` returns."""

    def __init__(self, cls: type, **options: Any) -> None:
        self._cls = cls
        self._options = options

    def options(self, **options: Any) -> ActorClass:
        return ActorClass(self._cls, **options)

    def remote(self, *args: Any) -> ActorHandle:
        key = self._options["namespace"], self._options["name"]
        assert self._options["get_if_exists"]
        if key not in actors or actors[key].is_dead:
            actors[key] = Actor(self._cls, args)
        return ActorHandle(actors[key])


def shutdown() -> None:
    """End all actors."""
    for process in processes:
        process.kill()
    for process in processes:
        with contextlib.suppress(RuntimeError):  # It is this thread.
            process.join()
    processes.clear()
    actors.clear()
