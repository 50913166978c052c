"""Run supervisord in this process, and exit when its program ends for good."""

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
from ..processes import tree
from ..processes.heartbeat import LAST_WORD_S, HeartbeatDirectory
from ..settings import Settings
from .options import Options
from .watchdog import Watchdog

#: Exit status of the container after too many failed starts.
GIVEN_UP: Final = 1
#: Signals for the program; supervisord's own use of them is not needed here.
_FORWARDED: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
#: Interval of the main loop during a shutdown, in seconds.
_SHUTDOWN_POLL_S: Final = 0.1
#: Part of ``stopwaitsecs`` that is reserved for killing survivors, in seconds.
_RESERVE_S: Final = 1.0
#: Seconds that a program has to stop, even if its requests took all the time.
_MIN_GRACE_S: Final = 1.0
#: Statuses that are expected (no restart) only from a program that has not served yet.
_EXPECTED_BEFORE_SERVING: Final = (0, USAGE_ERROR)
#: Masks of /proc/PID/status: signals that are ignored or caught, and that are blocked.
_HANDLED_MASKS: Final = ("SigIgn:", "SigCgt:")
_BLOCKED_MASK: Final = "SigBlk:"


def supervise(
    config: Path,
    heartbeats: HeartbeatDirectory,
    settings: Settings,
    *,
    has_server: bool = True,
) -> int:
    """Run the program of a configuration until it ends for good.

    Args:
        has_server: whether the program answers requests, and so has a heartbeat.

    Returns:
        The exit status of the container; 128 and more for a signal.

    Raises:
        ConfigurationError: the configuration does not start the program.
    """
    tree.adopt_orphans()
    for output in (sys.stdout, sys.stderr):
        _set_append_mode(output.fileno())
    options = Options()
    options.realize(["--configuration", str(config), "--nodaemon"])
    options.first = True
    options.test = False
    options.check_programs()
    supervisor = ProgramSupervisor(options, heartbeats, settings, has_server=has_server)
    try:
        supervisor.main()
    except asyncore.ExitNow:
        pass
    finally:
        options.close_httpservers()
        options.close_logger()
        tree.end_children(excluded=())
    return supervisor.status


def _set_append_mode(descriptor: int) -> None:
    """Keep processes that share an output file from overwriting each other's lines."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)


class ProgramSupervisor(Supervisor):  # type: ignore[misc]
    """A supervisord that ends when its program does."""

    def __init__(
        self,
        options: Options,
        heartbeats: HeartbeatDirectory,
        settings: Settings,
        *,
        has_server: bool,
    ) -> None:
        super().__init__(options)
        self._heartbeats = heartbeats
        self._has_server = has_server
        self._drain_s = settings.drain_seconds
        self._watchdog = Watchdog(heartbeats, settings)
        #: Exit status of the program, negative for a signal; None until it is known.
        self._status: int | None = None
        self._signal = signal.SIGTERM
        #: When this process received a terminating signal, by ``time.monotonic``.
        self._stop_requested_at: float | None = None
        self._starts = 0
        #: Signals to forward, as (number, process name), until they are handled.
        self._undelivered: set[tuple[int, str]] = set()

    @property
    def status(self) -> int:
        """Exit status of the container; 128 and more for a signal, as in a shell."""
        returncode = -self._signal if self._status is None else self._status
        return returncode if returncode >= 0 else 128 - returncode

    def runforever(self) -> None:
        # Not earlier: `main` clears all subscriptions before it calls this.
        events.subscribe(events.ProcessStateStartingEvent, self._on_starting)
        events.subscribe(events.ProcessStateFatalEvent, self._on_fatal)
        events.subscribe(events.ProcessStateExitedEvent, self._on_exit)
        events.subscribe(events.ProcessStateBackoffEvent, self._on_exit)
        events.subscribe(events.ProcessStateStoppedEvent, self._on_stopped)
        super().runforever()

    def handle_signal(self) -> None:
        # All pending signals: supervisord handles one per loop.
        while number := self.options.get_signal():
            self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number in _FORWARDED:
            names = [process.config.name for process in self._program_processes()]
            self._undelivered |= {(number, name) for name in names}
        elif number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self._signal = signal.Signals(number)
            self._stop_requested_at = self._stop_requested_at or time.monotonic()
            self._heartbeats.request_shutdown(self._stop_requested_at + self._drain_s)
            self.options.poller.longest_s = _SHUTDOWN_POLL_S
            if number != signal.SIGTERM:
                self._shut_down(f"received {self._signal.name}")

    def tick(self, now: float | None = None) -> None:
        """Check shutdown, deadlines and heartbeats; called in every main loop."""
        super().tick(now)
        self._forward_signals()
        if self.options.mood == SupervisorStates.SHUTDOWN:
            if self.options.deadline is None:  # `supervisorctl shutdown`
                self._stop_all()
            self._kill_at_deadline(self.options.deadline)
        elif (requested_at := self._stop_requested_at) is not None:
            late = time.monotonic() > requested_at + self._drain_s + LAST_WORD_S
            # Without a server, only that of another machine knows whether it is used.
            done = self._has_server and self._heartbeats.is_empty()
            if late or done:
                self._shut_down(f"received {self._signal.name}")
        elif reason := self._watchdog.restart_reason():
            self.options.logger.warn("%(reason)s: restarting", reason=reason)  # noqa: G010
            for process in self._running_processes():
                process.signal(signal.SIGKILL)
            self._watchdog.reset()

    def _on_starting(self, event: Any) -> None:
        """Count starts; the program reads the number of restarts from its environment.

        supervisord passes this process's environment on.
        """
        if event.process.config.is_program:
            os.environ[Settings.restarts.name] = str(self._starts)
            self._starts += 1

    def _on_fatal(self, event: Any) -> None:
        """Shut down after too many failed starts; supervisord itself would go on."""
        if self.options.mood > SupervisorStates.SHUTDOWN:
            self._status = GIVEN_UP
            name = event.process.config.name
            self._shut_down(f"{name} is given up after too many failed starts")

    def _on_exit(self, event: Any) -> None:
        """Shut down when the program exits and must not be restarted."""
        config = event.process.config
        returncode = self.options.returncode
        if returncode is None or not config.is_program:
            return
        if self._heartbeats.has_served():
            # vLLM exits with 0 when its engine has died; and a server that has served
            # did not fail because of its arguments.
            expected = set(config.exitcodes).difference(_EXPECTED_BEFORE_SERVING)
            config.exitcodes = sorted(expected)
        self._watchdog.reset()
        crashed = returncode not in config.exitcodes
        restarts = config.autorestart is RestartUnconditionally or (
            crashed and config.autorestart is RestartWhenExitUnexpected
        )
        if self._stop_requested_at is not None or not restarts:
            self._status = returncode
            self._shut_down(f"{config.name} has exited with status {returncode}")

    def _on_stopped(self, event: Any) -> None:
        """Record the exit status of a program that was stopped."""
        if event.process.config.is_program and self._status is None:
            self._status = self.options.returncode

    def _forward_signals(self) -> None:
        """Forward signals to the program once it would not be killed by them.

        A program that is just starting has no handlers yet. One that never installs any
        does not get the signal, as the kernel treats process 1.
        """
        for process in self._running_processes():
            for number in _FORWARDED:
                is_pending = (number, process.config.name) in self._undelivered
                if is_pending and has_signal_disposition(process.pid, number):
                    process.signal(number)
                    self._undelivered.discard((number, process.config.name))

    def _shut_down(self, reason: str) -> None:
        if self.options.mood == SupervisorStates.SHUTDOWN:
            return
        # supervisord's own logger takes keyword arguments.
        self.options.logger.warn("%(reason)s: shutting down", reason=reason)  # noqa: G010
        self._stop_all()
        self.options.mood = SupervisorStates.SHUTDOWN

    def _stop_all(self) -> None:
        """Stop all programs at once, within the same grace period.

        supervisord would wait for each before it stops the next.
        """
        now = time.monotonic()
        requested_at = self._stop_requested_at
        elapsed = 0.0 if requested_at is None else now - requested_at
        grace = _MIN_GRACE_S
        for process in self._all_processes():
            remaining = process.config.stopwaitsecs - _RESERVE_S - elapsed
            process.config.stopwaitsecs = max(_MIN_GRACE_S, remaining)
            grace = max(grace, remaining)
            if process.state in RUNNING_STATES and process.pid:
                process.stop()
        self.options.deadline = now + grace
        self.options.poller.longest_s = _SHUTDOWN_POLL_S

    def _kill_at_deadline(self, deadline: float) -> None:
        """Kill what still runs: supervisord counts from the stop of each process."""
        if time.monotonic() >= deadline:
            for process in self._all_processes():
                if process.state in SIGNALLABLE_STATES:
                    process.kill(signal.SIGKILL)

    def _running_processes(self) -> list[Any]:
        """Return the program's processes that run and are not being stopped."""
        processes = self._program_processes()
        return [process for process in processes if process.pid and not process.killing]

    def _program_processes(self) -> list[Any]:
        """Return the program's processes: one, unless ``numprocs`` is set."""
        processes = self._all_processes()
        return [process for process in processes if process.config.is_program]

    def _all_processes(self) -> list[Any]:
        groups = self.process_groups.values()
        return [process for group in groups for process in group.processes.values()]


def has_signal_disposition(pid: int, number: int) -> bool:
    """Whether a process catches, ignores or blocks a signal; True if unknown."""
    process = Path("/proc", str(pid))
    try:
        ours = Path("/proc/self/cmdline").read_bytes()
        if (process / "cmdline").read_bytes() == ours:
            return False  # A child before its exec still has our handlers.
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return True  # /proc may hide other users' processes.
    fields = dict(line.split("\t", 1) for line in lines if "\t" in line)
    masks = [int(fields[name], 16) for name in _HANDLED_MASKS if name in fields]
    blocked = int(fields.get(_BLOCKED_MASK, "0"), 16)
    # While a process is being spawned all signals are blocked, SIGABRT among them.
    if not _contains(blocked, signal.SIGABRT):
        masks.append(blocked)
    return not masks or any(_contains(mask, number) for mask in masks)


def _contains(mask: int, number: int) -> bool:
    return bool(mask >> (number - 1) & 1)
