"""supervisord in this process, with an end: what it gives up ends it too."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from supervisor import events
from supervisor.datatypes import RestartUnconditionally, RestartWhenExitUnexpected
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import (
    RUNNING_STATES,
    SIGNALLABLE_STATES,
    SupervisorStates,
)
from supervisor.supervisord import Supervisor

from ..engines.command import USAGE_ERROR
from ..processes import tree as orphans
from ..processes.heartbeat import LAST_WORD_S, HeartbeatDirectory
from ..settings import Settings
from .options import Options
from .watchdog import Watchdog

#: The status of a container whose server was given up.
GIVEN_UP: Final = 1
#: supervisord has its own meanings for some of them, which nobody needs here.
_PASSED_ON: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: At the end, time is short: so often things are looked at.
_HURRY_S: Final = 0.1
#: What is kept of the time that a program has to end, for all to be gone within it.
_OWN_S: Final = 1.0
#: What a program has to end even if its requests took all the time.
_LEAST_S: Final = 1.0
#: What a program ends with that is not to be started again, unless it has served.
_BEFORE_SERVING: Final = (0, USAGE_ERROR)
#: How a process meets a signal otherwise than by dying of it, as /proc says.
_MEETS: Final = ("SigIgn:", "SigCgt:")
_BLOCKS: Final = "SigBlk:"


def supervise(config: Path, board: HeartbeatDirectory, settings: Settings) -> int:
    """Run the program of a configuration until it ends for good; return its status.

    Raises:
        ConfigurationError: it is not to be started at all.
    """
    orphans.adopt()
    for output in (sys.stdout, sys.stderr):
        _append(output.fileno())
    options = Options()
    options.realize(["--configuration", str(config), "--nodaemon"])
    options.first = True
    options.test = False
    options.check_programs()
    supervision = ProgramSupervisor(options, board, settings)
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


class ProgramSupervisor(Supervisor):  # type: ignore[misc]
    """A supervisord that ends when its program does."""

    def __init__(
        self, options: Options, board: HeartbeatDirectory, settings: Settings
    ) -> None:
        super().__init__(options)
        self._board = board
        self._drain_s = settings.drain_seconds
        self._watchdog = Watchdog(board, settings)
        #: The status of this process; None until it is known.
        self._status: int | None = None
        self._signal = signal.SIGTERM
        #: When this process was told to end, by ``time.monotonic``.
        self._told_at: float | None = None
        self._starts = 0
        #: Signals for processes, by their names, until they can take them.
        self._waiting: set[tuple[int, str]] = set()

    @property
    def status(self) -> int:
        """What the container ends with: as a shell, 128 and more for a signal."""
        returncode = -self._signal if self._status is None else self._status
        return returncode if returncode >= 0 else 128 - returncode

    def runforever(self) -> None:
        # Not before: supervisord forgets who listens when it begins to run.
        events.subscribe(events.ProcessStateStartingEvent, self._count)
        events.subscribe(events.ProcessStateFatalEvent, self._give_up)
        events.subscribe(events.ProcessStateExitedEvent, self._on_exit)
        events.subscribe(events.ProcessStateBackoffEvent, self._on_exit)
        events.subscribe(events.ProcessStateStoppedEvent, self._on_stopped)
        super().runforever()

    def handle_signal(self) -> None:
        # All of them: supervisord takes one each time it looks.
        while number := self.options.get_signal():
            self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number in _PASSED_ON:
            self._waiting |= {(number, one.config.name) for one in self._program()}
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._signal = signal.Signals(number)
            self._told_at = self._told_at or time.monotonic()
            self._board.request_shutdown(self._told_at + self._drain_s)
            self.options.poller.longest_s = _HURRY_S
            if number != signal.SIGTERM:
                self._shut_down(f"received {self._signal.name}")

    def tick(self, now: float | None = None) -> None:
        """Look at the servers, which supervisord does not know; called all the time."""
        super().tick(now)
        self._pass_on()
        if self.options.mood == SupervisorStates.SHUTDOWN:
            if self.options.deadline is None:  # supervisorctl told it to.
                self._tell_to_end()
            self._kill_what_is_late(self.options.deadline)
        elif self._told_at is not None:
            late = time.monotonic() > self._told_at + self._drain_s + LAST_WORD_S
            if late or self._board.is_empty():
                self._shut_down(f"received {self._signal.name}")
        elif reason := self._watchdog.look():
            self.options.logger.warn("%(reason)s: restarting", reason=reason)  # noqa: G010
            for process in self._running():
                process.signal(signal.SIGKILL)
            self._watchdog.forget()

    def _count(self, event: Any) -> None:
        """Tell a program how often it has been started again: it gets what is here."""
        if event.process.config.is_program:
            os.environ[Settings.restarts.name] = str(self._starts)
            self._starts += 1

    def _give_up(self, event: Any) -> None:
        """A program crashed too often. Were that all, nobody would notice."""
        if self.options.mood > SupervisorStates.SHUTDOWN:
            self._status = GIVEN_UP
            self._shut_down(f"{event.process.config.name} is given up")

    def _on_exit(self, event: Any) -> None:
        """End with a program that is not to be started again."""
        config = event.process.config
        returncode = self.options.returncode
        if returncode is None or not config.is_program:
            return
        if self._board.has_served():
            # Nobody told it to: vLLM ends so when its engine has died. And what has
            # served has not been refused its arguments.
            config.exitcodes = [c for c in config.exitcodes if c not in _BEFORE_SERVING]
        self._watchdog.forget()
        crashed = returncode not in config.exitcodes
        again = config.autorestart is RestartUnconditionally or (
            crashed and config.autorestart is RestartWhenExitUnexpected
        )
        if self._told_at is not None or not again:
            self._status = returncode
            self._shut_down(f"{config.name} has ended")

    def _on_stopped(self, event: Any) -> None:
        """Remember how the program ended that was told to."""
        if event.process.config.is_program and self._status is None:
            self._status = self.options.returncode

    def _pass_on(self) -> None:
        """Pass signals on to the program, as soon as it would not just die of them.

        One that has only begun has no handler yet. One that never has any is not told,
        as the kernel does not tell process 1.
        """
        for process in self._running():
            for number in _PASSED_ON:
                waits = (number, process.config.name) in self._waiting
                if waits and has_signal_disposition(process.pid, number):
                    process.signal(number)
                    self._waiting.discard((number, process.config.name))

    def _shut_down(self, reason: str) -> None:
        if self.options.mood == SupervisorStates.SHUTDOWN:
            return  # It is said, and the time runs.
        # supervisord's own logger, which has another idea of arguments.
        self.options.logger.warn("%(reason)s: shutting down", reason=reason)  # noqa: G010
        self._tell_to_end()
        self.options.mood = SupervisorStates.SHUTDOWN

    def _tell_to_end(self) -> None:
        """Tell all programs at once, as the time is for all of them.

        supervisord would wait for each before it tells the next.
        """
        now = time.monotonic()
        spent = 0.0 if self._told_at is None else now - self._told_at
        grace = _LEAST_S
        for process in self._processes():
            left = process.config.stopwaitsecs - _OWN_S - spent
            process.config.stopwaitsecs = max(_LEAST_S, left)
            grace = max(grace, left)
            if process.state in RUNNING_STATES and process.pid:
                process.stop()
        self.options.deadline = now + grace
        self.options.poller.longest_s = _HURRY_S

    def _kill_what_is_late(self, deadline: float) -> None:
        """Keep the time: supervisord's own begins when it tells a process."""
        if time.monotonic() >= deadline:
            for process in self._processes():
                if process.state in SIGNALLABLE_STATES:
                    process.kill(signal.SIGKILL)

    def _running(self) -> list[Any]:
        """Return the processes of the program that run, and are not being ended."""
        return [one for one in self._program() if one.pid and not one.killing]

    def _program(self) -> list[Any]:
        """Return the processes of the program: one, unless somebody wants several."""
        return [one for one in self._processes() if one.config.is_program]

    def _processes(self) -> list[Any]:
        groups = self.process_groups.values()
        return [process for group in groups for process in group.processes.values()]


def has_signal_disposition(pid: int, number: int) -> bool:
    """Whether a process catches, ignores or blocks a signal, if it can be told."""
    process = Path("/proc", str(pid))
    try:
        ours = Path("/proc/self/cmdline").read_bytes()
        if (process / "cmdline").read_bytes() == ours:
            return False  # A child that is no program yet has handlers of ours.
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return True  # It is hidden from us.
    known = {name: value for name, _, value in (one.partition("\t") for one in lines)}
    masks = [int(known[name], 16) for name in _MEETS if name in known]
    blocked = int(known.get(_BLOCKS, "0"), 16)
    if not _has(blocked, signal.SIGABRT):  # Else all are, while a process is started.
        masks.append(blocked)
    return not masks or any(_has(mask, number) for mask in masks)


def _has(mask: int, number: int) -> bool:
    return bool(mask >> (number - 1) & 1)
