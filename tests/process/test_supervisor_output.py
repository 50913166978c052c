"""standard-supervisor: the program inherits the container's descriptors 1 and 2."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from namespaces import can_unshare
from servers import Process, polling, run_until_exit
from supervised import PATIENCE_S, SUPERVISOR, children, wait_for
from users import AS_ANOTHER_USER, needs_another_user

#: Writes one line to each descriptor.
WRITES: Final = """
    import os, sys
    os.write(1, b"out\\n")
    os.write(2, b"err\\n")
    """


class Reader:
    """A container's output: the inner end to write to, and the outer end to read."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self.outside, self.inside = self._open(kind, folder / "output")

    def _open(self, kind: str, file: Path) -> tuple[int, int]:
        if kind == "file":
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
            inside = os.open(file, flags, 0o600)
            return os.open(file, os.O_RDONLY), inside
        if kind == "socket":
            one, other = socket.socketpair()
            return one.detach(), other.detach()
        return os.pipe()

    def close_inside(self) -> None:
        """Close the inner end here; the started process keeps its copy."""
        os.close(self.inside)
        self.inside = -1

    def stop_reading(self) -> None:
        os.close(self.outside)
        self.outside = -1

    def text(self) -> str:
        """Read until the inner end is closed, and return the text."""
        with os.fdopen(os.dup(self.outside), "rb") as file:
            return file.read().decode()

    def close(self) -> None:
        for descriptor in (self.outside, self.inside):
            if descriptor >= 0:
                os.close(descriptor)


Open = Callable[[str], Reader]
Start = Callable[..., Process]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a pipe, a file or a socket for output."""
    readers: list[Reader] = []

    def open_one(kind: str) -> Reader:
        readers.append(Reader(kind, tmp_path))
        return readers[-1]

    yield open_one
    for reader in readers:
        reader.close()


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a Python program under the supervisor."""
    started: list[Process] = []

    def begin(
        source: str,
        *arguments: Any,
        before: tuple[str, ...] = (),
        output: dict[str, Any] | None = None,
        **env: str,
    ) -> Process:
        program = [sys.executable, "-c", textwrap.dedent(source), *arguments]
        command = [*before, SUPERVISOR, *program]
        started.append(Process(command, env, **(output or {})))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.close()


by_any_user: Final = pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="the same user"),
        pytest.param(AS_ANOTHER_USER, id="another user", marks=needs_another_user),
    ],
)


@by_any_user
@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_output_may_be_any_file_of_any_user(
    start: Start, opened: Open, kind: str, before: tuple[str, ...]
) -> None:
    reader = opened(kind)
    output = {"stdout": reader.inside, "stderr": reader.inside}
    process = start(WRITES, output=output, before=before, PROCESS_MAX_START_RETRIES="0")
    reader.close_inside()
    assert process.wait(PATIENCE_S) == 0
    lines = reader.text().splitlines()
    assert (lines.count("out"), lines.count("err")) == (1, 1)


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("closed", [{1}, {2}, {1, 2}, {0, 1, 2}])
def test_output_may_be_closed(
    start: Start, tmp_path: Path, closed: set[int], status: int
) -> None:
    source = """
        import os, sys
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
        links = [os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)]
        with open(sys.argv[1], "w") as file:
            file.write("\\n".join(links))
        sys.exit(int(sys.argv[2]))
        """
    closing = " ".join(f"{number}>&-" for number in closed)
    before = ("sh", "-c", f'exec "$@" {closing}', "sh")
    env = {"PROCESS_MAX_START_RETRIES": "0"}
    process = start(source, tmp_path / "links", status, before=before, **env)
    assert process.wait(PATIENCE_S) == (1 if status else 0)
    links = (tmp_path / "links").read_text().splitlines()
    assert [link == "/dev/null" for link in links] == [1 in closed, 2 in closed]
    assert "Traceback" not in process.output()


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_output_may_have_no_reader(
    start: Start, opened: Open, kind: str, status: int
) -> None:
    """Without care, SIGPIPE or a BrokenPipeError would end the program."""
    source = """
        import sys
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
        sys.exit(int(sys.argv[1]))
        """
    reader = opened(kind)
    reader.stop_reading()
    output = {"stdout": reader.inside, "stderr": reader.inside}
    env = {"PROCESS_MAX_START_RETRIES": "0"}
    process = start(source, status, output=output, **env)
    assert process.wait(PATIENCE_S) == (1 if status else 0)


def test_reader_may_disconnect(start: Start, opened: Open, tmp_path: Path) -> None:
    """A restarted program gets /dev/null instead, and the exit status is unchanged."""
    source = """
        import os, signal, sys
        from pathlib import Path
        if os.environ["MHCS_RESTARTS"] == "0":
            Path(sys.argv[1]).write_text("begun")
            signal.pause()
        print("out", flush=True)
        Path(sys.argv[1]).write_text(f"{os.getpid()}")
        signal.pause()
        """
    reader = opened("pipe")
    output = {"stdout": reader.inside, "stderr": reader.inside}
    process = start(source, tmp_path / "begun", output=output)
    reader.close_inside()
    wait_for(tmp_path / "begun")
    reader.stop_reading()
    [program] = children(process.pid)
    os.kill(program, signal.SIGKILL)
    for _ in polling(PATIENCE_S):
        if (tmp_path / "begun").read_text().isdecimal():
            break
    assert (tmp_path / "begun").read_text() == f"{children(process.pid)[0]}"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


@pytest.mark.skipif(
    not can_unshare() or os.geteuid() != 0, reason="cannot mount another /dev"
)
def test_output_may_have_no_path(start: Start, opened: Open) -> None:
    shell = "mount -t tmpfs dev /mnt && touch /mnt/null && mount --bind /dev/null "
    shell += '/mnt/null && mount --move /mnt /dev && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", shell, "sh")
    reader = opened("pipe")
    process = start(WRITES, before=before, output={"stdout": reader.inside})
    reader.close_inside()
    assert process.wait(PATIENCE_S) == 0, process.stderr()
    assert "out\n" in reader.text()


def test_output_is_not_copied(start: Start, opened: Open, tmp_path: Path) -> None:
    """The program writes to the container's own pipes, not to the supervisor's."""
    source = """
        import os, sys
        from pathlib import Path
        links = [os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)]
        Path(sys.argv[1]).write_text(" ".join(links))
        """
    readers = [opened("pipe"), opened("pipe")]
    output = {"stdout": readers[0].inside, "stderr": readers[1].inside}
    links = [
        str(Path(f"/proc/self/fd/{reader.inside}").readlink()) for reader in readers
    ]
    process = start(source, tmp_path / "links", output=output)
    assert process.wait(PATIENCE_S) == 0
    assert (tmp_path / "links").read_text().split() == links


@pytest.mark.parametrize("full", ["before", "by the program"])
def test_signals_are_handled_while_output_is_blocked(
    start: Start, opened: Open, tmp_path: Path, full: str
) -> None:
    source = """
        import os, signal, sys, threading
        from pathlib import Path

        def write():
            while True:
                os.write(1, b"x" * 1000)

        # Python would not run a handler of a signal that comes just before it blocks.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=write, daemon=True).start()
        Path(sys.argv[1]).write_text("begun")
        signal.sigwait({signal.SIGTERM})
        os._exit(7)
        """
    reader = opened("pipe")
    if full == "before":
        fill(reader.inside)
    output = {"stdout": reader.inside, "stderr": reader.inside}
    process = start(source, tmp_path / "begun", output=output)
    wait_for(tmp_path / "begun")
    if full == "by the program":
        wait_until_full(reader.inside)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 7


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 1000)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def wait_until_full(pipe: int) -> None:
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    for _ in polling(PATIENCE_S):
        if not poll.poll(0):
            return
    raise AssertionError("the pipe did not fill")


# --- configured output -------------------------------------------------------------


def keys(program: str = "APP", **values: str) -> dict[str, str]:
    return {f"SUPERVISOR_PROGRAM__{program}_{key}": values[key] for key in values}


def test_output_can_go_to_configured_file(start: Start, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("out", "err")}
    env = keys(
        STDOUT_LOGFILE=str(files["out"]),
        STDERR_LOGFILE=str(files["err"]),
    )
    process = start(WRITES, **env)
    assert process.wait(PATIENCE_S) == 0
    assert [files[name].read_text() for name in files] == ["out\n", "err\n"]
    lines = process.output().splitlines()
    assert not {"out", "err"} & {*lines}


@pytest.mark.parametrize("exists", [True, False])
@needs_another_user
def test_unwritable_output_file_is_an_error(exists: bool) -> None:
    """It is not retried."""
    file = "/etc/passwd" if exists else "/etc/app.log"
    command = [*AS_ANOTHER_USER, SUPERVISOR, "echo", "begun"]
    end = run_until_exit(command, keys(STDERR_LOGFILE=file))
    assert end.status == 1
    name = "SUPERVISOR_PROGRAM__APP_STDERR_LOGFILE"
    assert f"{name}={file!r} is not allowed" in end.stderr
    assert "begun" not in end.stdout


@pytest.mark.parametrize(
    "env", [keys(REDIRECT_STDERR="true"), keys(STDERR_LOGFILE="/dev/stdout")]
)
def test_stderr_can_be_redirected_to_stdout(
    start: Start, opened: Open, env: dict[str, str]
) -> None:
    reader = opened("socket")
    process = start(WRITES, output={"stdout": reader.inside}, **env)
    reader.close_inside()
    assert process.wait(PATIENCE_S) == 0
    assert {"out", "err"} <= {*reader.text().splitlines()}
    assert "err" not in process.stderr().splitlines()


@by_any_user
@pytest.mark.parametrize(
    ("env", "line"),
    [
        (keys(STDOUT_EVENTS_ENABLED="true"), "\x1b[1mout"),
        (keys(STDOUT_CAPTURE_MAXBYTES="1KB"), "\x1b[1mout"),
        ({"SUPERVISOR_SUPERVISORD_STRIP_ANSI": "true"}, "out"),
    ],
)
def test_supervisord_can_capture_output(
    start: Start, opened: Open, env: dict[str, str], line: str, before: tuple[str, ...]
) -> None:
    reader = opened("socket")
    output = {"stdout": reader.inside}
    # supervisord holds back output that is shorter than the marker it searches for.
    source = r"import os; os.write(1, b'x' * 80 + b'\n\x1b[1mout\n')"
    process = start(source, output=output, before=before, **env)
    reader.close_inside()
    assert process.wait(PATIENCE_S) == 0
    assert reader.text().splitlines().count(line) == 1


@by_any_user
def test_other_programs_get_same_output(
    start: Start, opened: Open, tmp_path: Path, before: tuple[str, ...]
) -> None:
    """Also the stderr of event listeners, whose stdout is supervisord's protocol."""
    (tmp_path / "other.py").write_text("import os; os.write(1, b'other\\n')")
    listener = (
        "import os, sys; os.write(1, b'READY\\n'); os.write(2, b'listener\\n'); "
        "sys.stdin.read()"
    )
    listening = shlex.join([sys.executable, "-c", listener])
    reader = opened("socket")
    env = {
        **keys("OTHER", COMMAND="echo other", STDOUT_LOGFILE="/dev/fd/1"),
        **keys("OTHER", STARTSECS="0", AUTORESTART="false"),
        "SUPERVISOR_EVENTLISTENER__L_COMMAND": listening,
        "SUPERVISOR_EVENTLISTENER__L_EVENTS": "PROCESS_STATE",
        "SUPERVISOR_EVENTLISTENER__L_STDERR_LOGFILE": "/dev/stderr",
    }
    output = {"stdout": reader.inside, "stderr": reader.inside}
    waits = "import signal; signal.pause()"
    process = start(waits, output=output, before=before, **env)
    reader.close_inside()
    text = ""
    for _ in polling(PATIENCE_S):
        text += os.read(reader.outside, 65_536).decode()
        if {"other", "listener"} <= {*text.splitlines()}:
            break
    assert "READY" not in text.splitlines()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM


def test_supervisorctl_cannot_tail_output(start: Start, tmp_path: Path) -> None:
    """Reading the container's pipe would steal lines from its reader, or block."""
    address = tmp_path / "s"
    env = {"SUPERVISOR_UNIX_HTTP_SERVER_FILE": str(address)}
    source = "import signal; print('out', flush=True); signal.pause()"
    process = start(source, **env)
    for _ in polling(PATIENCE_S):
        if address.exists() and "out" in process.stdout().splitlines():
            break
    control = str(Path(SUPERVISOR).with_name("supervisorctl"))
    end = run_until_exit([control, "-s", f"unix://{address}", "tail", "app"])
    assert "app: ERROR (no log file)" in end.stdout
