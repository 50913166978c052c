"""Sessions of an application, which its coordinator keeps."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Final

from ray.exceptions import ActorDiedError, RayError, RayTaskError

from model_hosting_container_standards.engines import (
    SessionStorage,
    SessionTable,
    StoredSession,
)
from model_hosting_container_standards.exceptions import StorageError
from model_hosting_container_standards.logging_config import get_logger

from .coordinator import CoordinatorHandle

logger = get_logger(__name__)

#: Seconds that a call may take, while the actor may be being restarted.
_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = 0.2


@dataclass(frozen=True)
class ClusterSessions(SessionStorage):
    """The sessions of an application of Ray Serve, which its coordinator keeps.

    Args:
        application: its name.
    """

    application: str
    reads_block = True

    def open(self) -> SessionTable:
        return ActorSessions(CoordinatorHandle(self.application))


class ActorSessions(SessionTable):
    """The table of sessions in the coordinator's actor. Thread-safe; blocks."""

    def __init__(self, coordinator: CoordinatorHandle) -> None:
        self._coordinator = coordinator

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        self._call("create", session_id, expires, engine_id)

    def find(self, session_id: str) -> StoredSession:
        session: StoredSession = self._call("find", session_id)
        return session

    def end(self, session_id: str) -> bool:
        was_live, attempts = self._try("end", session_id)
        # The actor may have died after it had ended the session.
        return bool(was_live) or attempts > 1

    def put(self, session_id: str, name: str, value: str) -> None:
        self._call("put", session_id, name, value)

    def get(self, session_id: str, name: str) -> str | None:
        value: str | None = self._call("get", session_id, name)
        return value

    def check(self) -> None:
        """Do nothing: the actor may still be starting."""

    def close(self) -> None:
        """Do nothing: the actor outlives this process."""

    def _call(self, method: str, *args: Any) -> Any:
        result, _ = self._try(method, *args)
        return result

    def _try(self, method: str, *args: Any) -> tuple[Any, int]:
        """Return the result of a call, and how many attempts it took.

        Raises:
            StorageError: the actor cannot be reached, or has failed.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        for attempt in itertools.count(1):
            try:
                actor = self._coordinator.get()
                # Not ray.get, which Ray refuses in the event loop of an actor.
                call = actor.call_sessions.remote(method, *args).future()
                result = call.result(max(0.0, deadline - time.monotonic()))
            except RayTaskError as error:
                # Its text has a traceback, which is not for clients.
                logger.error("The sessions: %s", error)
                raise StorageError("The sessions cannot be used.") from error
            except (RayError, FutureTimeoutError) as error:
                if isinstance(error, ActorDiedError):
                    self._coordinator.forget()
                if time.monotonic() > deadline:
                    raise StorageError("The sessions cannot be reached.") from error
                time.sleep(_RETRY_S)
            else:
                if isinstance(result, Exception):
                    raise result
                return result, attempt
        raise AssertionError
