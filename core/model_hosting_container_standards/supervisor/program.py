"""supervisord in this process, with an end: what it gives up ends it too."""

from __future__ import annotations

import fcntl
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from supervisor import events
from supervisor.datatypes import RestartUnconditionally, RestartWhenExitUnexpected
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from ..config import Settings
from . import orphans, signals
from .board import LAST_WORD_S, Board
from .configuration import PROGRAM

#: The status of a container whose server was given up.
GIVEN_UP: Final = 1
#: supervisord has its own meanings for some of them, which nobody needs here.
_PASSED_ON: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: Longer than supervisord ever waits; and time enough for servers to report.
_PAUSE_S: Final = 5.0
_RUNS: Final = (ProcessStates.STARTING, ProcessStates.RUNNING)


def supervise(config: Path, board: Board, settings: Settings) -> int:
    """Run the program of a configuration until it ends for good; return its status."""
    orphans.adopt()
    for output in (sys.stdout, sys.stderr):
        _append(output.fileno())
    options = Options()
    options.realize(["--configuration", str(config), "--nodaemon"])
    options.first = True
    options.test = False
    supervision = Supervision(options, board, settings)
    try:
        supervision.main()
    except asyncore.ExitNow:
        pass
    finally:
        options.close_httpservers()
        options.close_logger()
        orphans.end(spared=())
    return supervision.status


def _append(descriptor: int) -> None:
    """Let several write to what may be a file, and none over another's lines."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


class Options(ServerOptions):  # type: ignore[misc]
    """supervisord's ways to the system."""

    #: How the child ended that was reaped last, as in :mod:`subprocess`; None: it has
    #: not even begun.
    returncode: int | None = None
    #: Until when what a program leaves behind may end by itself.
    deadline = 0.0

    def setsignals(self) -> None:
        super().setsignals()
        signal.signal(signal.SIGUSR1, self.signal_receiver.receive)
        signals.release()

    def fork(self) -> int:
        self.returncode = None
        return signals.fork()

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if pid in self.pidhistory:
            self.returncode = os.waitstatus_to_exitcode(status)
            orphans.end(self.pidhistory, max(0.0, self.deadline - time.monotonic()))
        return pid, status


class Supervision(Supervisor):  # type: ignore[misc]
    """A supervisord that ends when its program does."""

    def __init__(self, options: Options, board: Board, settings: Settings) -> None:
        super().__init__(options)
        self._board = board
        self._drain_s = settings.drain_seconds
        #: After how many seconds a hung server is restarted; None: never.
        self._stall_s = settings.ping_stall if settings.restart_on_hang else None
        #: The status of this process; None until it is known.
        self._status: int | None = None
        self._signal = signal.SIGTERM
        #: When this process was told to end, by ``time.monotonic``.
        self._told_at: float | None = None
        self._looked_at = self._patient_until = time.monotonic()
        self._starts = 0

    @property
    def status(self) -> int:
        """What the container ends with: as a shell, 128 and more for a signal."""
        returncode = -self._signal if self._status is None else self._status
        return returncode if returncode >= 0 else 128 - returncode

    def runforever(self) -> None:
        # Not before: supervisord forgets who listens when it begins to run.
        events.subscribe(events.ProcessStateStartingEvent, self._count)
        events.subscribe(events.ProcessStateFatalEvent, self._give_up)
        events.subscribe(events.ProcessStateExitedEvent, self._look_at_the_end)
        events.subscribe(events.ProcessStateBackoffEvent, self._look_at_the_end)
        events.subscribe(events.ProcessStateStoppedEvent, self._note)
        super().runforever()

    def handle_signal(self) -> None:
        number = self.options.get_signal()
        if number in _PASSED_ON:
            self._pass_on(number)
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._signal = number
            self._told_at = self._told_at or time.monotonic()
            self._board.call_for_the_end(self._told_at + self._drain_s)
            if number != signal.SIGTERM:
                self._shut_down(f"received {signal.Signals(number).name}")

    def tick(self, now: float | None = None) -> None:
        """Look at the servers, which supervisord does not know; called all the time."""
        super().tick(now)
        if self._told_at is not None:
            late = time.monotonic() > self._told_at + self._drain_s + LAST_WORD_S
            if late or self._board.is_empty():
                self._shut_down(f"received {signal.Signals(self._signal).name}")
        elif self._stall_s and (reason := self._hung(self._stall_s)):
            self.options.logger.warn("%(reason)s: restarting", reason=reason)  # noqa: G010
            self._pass_on(signal.SIGKILL)
            self._board.clear()

    def _hung(self, stall_s: int) -> str | None:
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        if self._looked_at - looked_at > _PAUSE_S:
            # This process stood still too, as all of a container may be made to.
            self._patient_until = self._looked_at + _PAUSE_S
        if self._looked_at < self._patient_until:
            return None
        return self._board.hung(stall_s)

    def _count(self, event: Any) -> None:
        """Tell a program how often it has been started again: it gets what is here."""
        if event.process.config.name == PROGRAM:
            os.environ[Settings.restarts.name] = str(self._starts)
            self._starts += 1

    def _give_up(self, event: Any) -> None:
        """A program crashed too often. Were that all, nobody would notice."""
        if self.options.mood > SupervisorStates.SHUTDOWN:
            self._status = GIVEN_UP
            self._shut_down(f"{event.process.config.name} is given up")

    def _look_at_the_end(self, event: Any) -> None:
        """End with a program that is not to be started again."""
        config = event.process.config
        returncode = self.options.returncode
        if returncode is None or config.name != PROGRAM:
            return
        if self._board.has_served():
            # Nobody told it to: vLLM ends so when its engine has died.
            config.exitcodes = [code for code in config.exitcodes if code]
        self._board.clear()
        crashed = returncode not in config.exitcodes
        again = config.autorestart is RestartUnconditionally or (
            crashed and config.autorestart is RestartWhenExitUnexpected
        )
        if self._told_at is not None or not again:
            self._status = returncode
            self._shut_down(f"{config.name} has ended")

    def _note(self, event: Any) -> None:
        """Remember how the program ended that was told to."""
        if event.process.config.name == PROGRAM and self._status is None:
            self._status = self.options.returncode

    def _pass_on(self, number: int) -> None:
        for process in self._processes():
            if process.config.name == PROGRAM and process.state in _RUNS:
                process.signal(number)

    def _shut_down(self, reason: str) -> None:
        if self.options.mood == SupervisorStates.SHUTDOWN:
            return  # It is said, and the time runs.
        # supervisord's own logger, which has another idea of arguments.
        self.options.logger.warn("%(reason)s: shutting down", reason=reason)  # noqa: G010
        spent = 0.0 if self._told_at is None else time.monotonic() - self._told_at
        for process in self._processes():
            # What SageMaker gives is for all of it, supervisord's own second included.
            left = process.config.stopwaitsecs - math.ceil(spent)
            process.config.stopwaitsecs = max(1, left - 1 if spent else left)
        grace = max(process.config.stopwaitsecs for process in self._processes())
        self.options.deadline = time.monotonic() + grace
        self.options.mood = SupervisorStates.SHUTDOWN

    def _processes(self) -> list[Any]:
        groups = self.process_groups.values()
        return [process for group in groups for process in group.processes.values()]
