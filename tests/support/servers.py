"""Start, query and stop servers and commands in processes of their own.

    with Server(["vllm", "serve", "MODEL"], env={"MHCS_AUTO": "1"}) as server:
        assert server.client.get("/ping").status_code == 200

    exit_ = run_until_exit(["vllm", "serve", "MODEL"], env={"MHCS_STRICT": "perhaps"})
    assert exit_.status != 0 and "MHCS_STRICT" in exit_.stderr

A process does not inherit this package's variables from the tests. It gets a process
group of its own; the group and all descendants end with the test.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Final, NamedTuple, TypeVar

import httpx

import proc
from model_hosting_container_standards.processes.tree import descendants

HOST = "127.0.0.1"
#: How many seconds a server may take to end after SIGTERM, before it is killed.
GRACE_S = 15.0
POLL_S = 0.05
#: Seconds for what takes one or two on an idle machine: more is taken for a hang.
TIMEOUT_S: Final = 120.0
#: Variables of a process whose coverage is of no use. Python starts faster without it.
UNMEASURED: Final = {"COVERAGE_PROCESS_CONFIG": ""}
#: The files in /dev/shm that stopped processes used.
shared_memory: Final[set[Path]] = set()
#: Ports for servers, below the ephemeral range.
PORTS = range(20_000, 32_000)

#: Seconds that a client keeps a connection. Servers close an idle one after 5 seconds;
#: a request at that moment would fail.
KEEP_ALIVE_S: Final = 2.0

_OUR_PREFIXES = (
    "CUSTOM_",
    "MHCS_",
    "PROCESS_",
    "SAGEMAKER_",
    "STANDARD_",
    "SUPERVISOR_",
)
_OUR_NAMES = ("LOG_LEVEL", "VLLM_USE_RUST_FRONTEND")


class ServerFailed(AssertionError):
    """A server failed to start, to respond or to end; the message has its output."""


class Exit(NamedTuple):
    """The status and output of a command; ``status`` is negative after a signal."""

    status: int
    stdout: str
    stderr: str


class Process:
    """A command in a process group of its own, and its output.

    ``options`` are further ones of :class:`subprocess.Popen`.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.command = [str(part) for part in command]
        self.env = environment(env or {})
        self.cwd = cwd
        self._running: subprocess.Popen[bytes] | None = None
        self._is_killed = False
        # Files: unlike pipes they are never full, and can be read at any time.
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        output = {"stdout": self._stdout, "stderr": self._stderr}
        self._popen = {"stdin": subprocess.DEVNULL, **output, **options}

    def start(self) -> None:
        self._running = subprocess.Popen(
            self.command,
            env=self.env,
            cwd=self.cwd,
            start_new_session=True,
            **self._popen,
        )
        self._is_killed = False

    def stop(self) -> None:
        """End the process and its children: with SIGTERM, then with SIGKILL."""
        if self._is_killed:
            return
        self._note_shared_memory()
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process and all its descendants, except multiprocessing's helpers.

        The helpers remove shared memory that the others used, and then exit.
        """
        if self._is_killed:
            return  # The pid may have been reused.
        self._note_shared_memory()
        self._signal(signal.SIGSTOP)  # It starts no process, and misses the deaths.
        for pid in self._pids():
            if not proc.is_helper(pid):
                _send(pid, signal.SIGKILL)
        self._signal(signal.SIGCONT)
        self._process.wait()
        for _ in polling(GRACE_S):
            if not proc.group(self.pid):
                break
        else:
            self._signal(signal.SIGKILL)
        self._is_killed = True

    def _pids(self) -> set[int]:
        """Return the process and its descendants, and the rest of its group."""
        running = [self.pid, *descendants(self.pid)] if self.status() is None else []
        return {*running, *proc.group(self.pid)}

    def _note_shared_memory(self) -> None:
        shared_memory.update(proc.shared_memory(self._pids()))

    def wait(self, timeout: float) -> int:
        """Return the exit status.

        Raises:
            ServerFailed: it still runs after ``timeout`` seconds.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerFailed(self._describe(f"runs after {timeout} s")) from None

    def status(self) -> int | None:
        """Return the exit status, None while the process runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stdout(self) -> str:
        return _content(self._stdout)

    def stderr(self) -> str:
        return _content(self._stderr)

    def output(self) -> str:
        """Return all that was written so far, standard error last."""
        return self.stdout() + self.stderr()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._running is not None, "start() comes first"
        return self._running

    def _signal(self, number: signal.Signals) -> None:
        # The group outlives its leader while a child of it runs.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _describe(self, what: str) -> str:
        return f"{' '.join(self.command)} {what}.\n{self.output()}"

    def close(self) -> None:
        """End the process, and discard its output."""
        if self._running is not None:
            self.stop()
        self._stdout.close()
        self._stderr.close()


S = TypeVar("S", bound="Server")


class Server(Process):
    """A server; ``--host`` and ``--port`` are added to its command.

    As a context manager it is entered once ``ready_path`` answers 200. With None it is
    entered at once; call :meth:`wait_until_ready` then.
    """

    #: Seconds between two looks at ``ready_path``.
    poll_s: ClassVar[float] = POLL_S

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        ready_path: str | None = "/health",
        timeout: float = TIMEOUT_S,
        port: int | None = None,
        host: str = HOST,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://{host}:{self.port}"
        self.ready_path = ready_path
        self.timeout = timeout
        address = ["--host", host, "--port", str(self.port)]
        # A state folder of its own, unless the test passes another.
        self._state = tempfile.TemporaryDirectory()
        state = {
            "SAGEMAKER_ADAPTERS_PATH": f"{self._state.name}/adapters",
            "SAGEMAKER_SESSIONS_PATH": f"{self._state.name}/sessions",
        }
        super().__init__([*command, *address], {**state, **(env or {})}, cwd)
        self.client = self._client()

    def __enter__(self: S) -> S:
        try:
            self.start()
            if self.ready_path is not None:
                self.wait_until_ready(self.ready_path)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def wait_until_ready(
        self, path: str = "/health", timeout: float | None = None
    ) -> None:
        """Return once ``path`` answers 200.

        Raises:
            ServerFailed: the process ended, or ``timeout`` seconds have passed.
        """
        timeout = self.timeout if timeout is None else timeout
        for _ in polling(timeout, self.poll_s):
            if self.status() is not None:
                raise ServerFailed(self._describe(f"ended with {self.status()}"))
            with contextlib.suppress(httpx.TransportError):
                if self.client.get(path, timeout=5).status_code == 200:
                    return
        raise ServerFailed(self._describe(f"has no {path} after {timeout} s"))

    def new_client(self) -> httpx.Client:
        """Return a client that opens a new connection for each request.

        So each may reach another process. The header closes connections rather than
        a pool limit: httpcore may close, as one too many, a connection that another
        thread is about to take.
        """
        return self._client({"Connection": "close"})

    def _client(self, headers: Mapping[str, str] | None = None) -> httpx.Client:
        # Do not use the environment's proxy, or read certificates, which takes longer
        # than most requests.
        return httpx.Client(
            base_url=self.url,
            timeout=TIMEOUT_S,
            limits=httpx.Limits(
                max_connections=100,
                max_keepalive_connections=20,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            headers=headers,
            trust_env=False,
            verify=False,
        )

    def close(self) -> None:
        self.client.close()
        super().close()
        self._state.cleanup()


def run_until_exit(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Exit:
    """Run a command until it exits.

    Raises:
        ServerFailed: it still runs after ``timeout`` seconds.
    """
    process = Process(command, env, cwd)
    try:
        process.start()
        status = process.wait(timeout)
        return Exit(status, process.stdout(), process.stderr())
    finally:
        process.close()


def serve_until_exit(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float = TIMEOUT_S,
) -> Exit:
    """Run a server that must fail to start; the address is as in :class:`Server`."""
    address = ["--host", HOST, "--port", str(free_port())]
    return run_until_exit([*command, *address], env, cwd, timeout)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the tests' environment without this package's variables, and ``extra``."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OUR_PREFIXES) and name not in _OUR_NAMES
    }
    return {**inherited, **extra}


def free_port() -> int:
    """Return a free port outside the ephemeral range.

    A server may bind it a minute later; by then the kernel could have given an
    ephemeral port to a connection or to another test.
    """
    for _ in PORTS:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerFailed(f"no port is free in {PORTS}")


def catch_ignored_signals() -> None:
    """Catch the signals that ``nohup`` and shells let a background job ignore.

    The handlers do nothing, but child processes do not inherit them as they would
    inherit SIG_IGN, and so react to the signals that tests send.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def polling(timeout: float, interval: float = POLL_S) -> Iterator[None]:
    """Yield every ``interval`` seconds, at least once, until ``timeout`` has passed."""
    deadline = time.monotonic() + timeout
    yield
    while time.monotonic() < deadline:
        time.sleep(interval)
        yield


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _content(file: IO[bytes]) -> str:
    # Read by position: the offset of the file is shared with the process writing it.
    raw = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    return raw.decode(errors="replace")
