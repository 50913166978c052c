"""Installation of requirements.txt from the model folder."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from model_hosting_container_standards.processes.tree import is_running
from servers import Exit, Process, run_until_exit
from supervised import MHCS, PROCESS_1, SUPERVISOR, supervisor_of
from trtllm import RELEASES, environment_of
from venvs import UV, make_venv, run
from wheels import ALONE, hanging_index, index_of, write_source, write_wheel

#: Prints the version of a package that it imports, as the server would.
SEES: Final = """
import importlib, sys
print("sees", importlib.import_module(sys.argv[1]).version)
"""

Ask = Callable[..., Exit]


@pytest.fixture(autouse=True)
def no_other_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)


def make_engine(folder: Path, *options: str) -> Path:
    """Return the Python of an environment with an engine, which requires torch."""
    wheels = [
        write_wheel(folder / "wheels", "vllm", "0.32.0+cpu", ["torch>=1"]),
        write_wheel(folder / "wheels", "torch", "2.0"),
        write_wheel(folder / "wheels", "other", "1.0"),
    ]
    python = make_venv(folder / "venv", *options)
    install = (*UV, "pip", "install", "--quiet", "--offline", "--python", str(python))
    run(*install, *map(str, wheels))
    return python


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared environment with pip; each test installs different packages."""
    python = make_engine(tmp_path_factory.mktemp("engine"), "--seed")
    # uv leaves it to the first run, which may not write bytecode.
    [pip] = python.parents[1].glob("lib/python*/site-packages/pip")
    run(python, "-m", "compileall", "-q", pip)
    return python


@pytest.fixture
def fresh_python(tmp_path: Path) -> Path:
    """An environment for one test, without pip."""
    return make_engine(tmp_path / "engine")


@pytest.fixture
def model(model_folder: Path) -> Callable[[str], Path]:
    """Return a function that writes requirements.txt, and returns its wheel folder."""

    def write(text: str) -> Path:
        (model_folder / "requirements.txt").write_text(text)
        return model_folder / "requirements"

    return write


@pytest.fixture
def ask(model_folder: Path) -> Ask:
    """Return a function that runs ``SEES`` under the supervisor."""

    def start(python: Path, package: str, **env: str) -> Exit:
        env = {"SAGEMAKER_MODEL_PATH": str(model_folder), **env}
        env = {"PROCESS_AUTO_RECOVERY": "false", **env}
        return run_until_exit([SUPERVISOR, python, "-c", SEES, package], env)

    return start


# --- what is installed -------------------------------------------------------------


@pytest.mark.parametrize("recovery", ["true", "false"])
def test_local_wheels_are_installed_without_index(
    tmp_path: Path, python: Path, model: Callable[[str], Path], ask: Ask, recovery: str
) -> None:
    package = f"beside_{recovery}"
    write_wheel(model(package), package, "1.0", [f"needed_{recovery}"])
    write_wheel(model(package), f"needed_{recovery}")
    with index_of(tmp_path) as index:
        env = {"PROCESS_AUTO_RECOVERY": recovery, "PIP_INDEX_URL": index.url}
        end = ask(python, package, **env)
        assert (end.status, index.asked) == (0, []), end.stderr
        assert "sees 1.0\n" in end.stdout
        # On a second start, pip finds it installed.
        assert "already satisfied" in ask(python, package, **env).stdout


def test_code_requirements_are_installed_if_top_has_none(
    tmp_path: Path, python: Path, model_folder: Path, ask: Ask
) -> None:
    """Wheels and relative paths are those of that folder."""
    code = model_folder / "code"
    code.mkdir()
    (code / "requirements.txt").write_text("-r more.txt")
    (code / "more.txt").write_text("of_the_code")
    write_wheel(code / "requirements", "of_the_code")
    with index_of(tmp_path) as index:
        end = ask(python, "of_the_code", PIP_INDEX_URL=index.url)
    assert (end.status, index.asked) == (0, []), end.stderr
    assert "sees 1.0\n" in end.stdout


def test_top_level_requirements_take_precedence(
    python: Path, model: Callable[[str], Path], model_folder: Path, ask: Ask
) -> None:
    write_wheel(model("at_the_top"), "at_the_top")
    code = model_folder / "code" / "requirements.txt"
    code.parent.mkdir()
    code.write_text("no_such_distribution")
    end = ask(python, "at_the_top")
    assert end.status == 0, end.stderr
    assert "sees 1.0\n" in end.stdout
    assert f"{code} is not installed" in end.stderr


def test_python_may_print_at_startup_and_exit(
    fresh_python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    """As monitoring tools do, which hook into every Python process."""
    [site] = fresh_python.parent.parent.glob("lib/*/site-packages")
    code = "import atexit; print('begins'); atexit.register(print, 'ends')"
    (site / "monitor.pth").write_text(f"{code}\n")
    write_wheel(model("beside_monitor"), "beside_monitor", "1.0")
    end = ask(fresh_python, "beside_monitor")
    assert "sees 1.0\n" in end.stdout, end.stderr


def test_index_is_used_without_wheels(
    tmp_path: Path, python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    folder = model("indexed\n")
    write_wheel(tmp_path / "index", "indexed")
    folder.mkdir()
    (folder / "base.txt").write_text("of another use")
    with index_of(tmp_path / "index") as index:
        end = ask(python, "indexed", PIP_INDEX_URL=index.url)
    assert (end.status, end.stdout[-9:]) == (0, "sees 1.0\n"), end.stderr
    assert "/simple/indexed/" in index.asked


def test_index_from_arguments_is_used_besides_wheels(
    tmp_path: Path, python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    write_wheel(model("by_argument\nby_folder"), "by_folder")
    write_wheel(tmp_path / "index", "by_argument")
    with index_of(tmp_path / "index") as index:
        arguments = f"--index-url '{index.url}'"
        end = ask(python, "by_argument", STANDARD_PIP_ARGS=arguments)
    assert end.status == 0, end.stderr


def test_requirements_are_installed_once_for_all_restarts(
    tmp_path: Path, python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    model("restarted")
    write_wheel(tmp_path / "index", "restarted")
    with index_of(tmp_path / "index") as index:
        env = {"PIP_INDEX_URL": index.url, "PROCESS_AUTO_RECOVERY": "true"}
        end = ask(python, "no_such_module", **env, PROCESS_MAX_START_RETRIES="1")
    assert end.status == 1
    assert end.stderr.count("ModuleNotFoundError") == 2
    assert index.asked.count("/simple/restarted/") == 1


#: Prints the blocked signals, and whether it is a subreaper (PR_GET_CHILD_SUBREAPER).
INHERITS: Final = """
import ctypes, signal
adopts = ctypes.c_int()
ctypes.CDLL(None).prctl(37, ctypes.byref(adopts), 0, 0, 0)
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), adopts.value)
"""


def test_command_state_is_unaffected_by_installation(
    python: Path, model: Callable[[str], Path], model_folder: Path
) -> None:
    model("torch")
    env = {"SAGEMAKER_MODEL_PATH": str(model_folder), "PROCESS_AUTO_RECOVERY": "0"}
    end = run_until_exit([SUPERVISOR, python, "-c", INHERITS], env)
    assert end.stdout.endswith("\nset() 0\n"), end.stderr


@pytest.mark.parametrize("variable", ["STANDARD_AUTO_INSTALL_REQ", "nothing"])
def test_nothing_is_installed_by_default(
    python: Path, model: Callable[[str], Path], ask: Ask, variable: str
) -> None:
    folder = model("unasked")
    write_wheel(folder, "unasked")
    if variable == "nothing":
        (folder.parent / "requirements.txt").unlink()
    end = ask(python, "unasked", **{variable: "false"})
    assert "ModuleNotFoundError" in end.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_windows_line_endings_are_read(
    python: Path, model: Callable[[str], Path], ask: Ask, encoding: str
) -> None:
    name = f"windows_{encoding.replace('-', '_')}"
    folder = model("")
    write_wheel(folder, name)
    text = f"# é\r\n{name} == 1.0\r\n\r\n"
    (folder.parent / "requirements.txt").write_bytes(text.encode(encoding))
    assert ask(python, name).stdout.endswith("sees 1.0\n")


def test_empty_file_installs_nothing(
    python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    model("")
    assert ask(python, "torch").stdout.endswith("sees 2.0\n")


def test_relative_lines_work_and_folder_is_not_written_to(
    python: Path,
    model: Callable[[str], Path],
    ask: Ask,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_wheel(model("-r more.txt\n./local"), "by_other_file")
    (model_folder / "more.txt").write_text("by_other_file")
    # The build backend reads a path relative to the source folder.
    copy = """
        import shutil
        from pathlib import Path
        [wheel] = Path("wheels").glob("*.whl")
        return Path(shutil.copy(wheel, folder)).name
        """
    write_source(model_folder / "local", copy)
    write_wheel(model_folder / "local" / "wheels", "local")
    before = sorted(model_folder.rglob("*"))
    # The path of the model folder may be relative too.
    monkeypatch.chdir(model_folder.parent)
    end = ask(python, "local", SAGEMAKER_MODEL_PATH=model_folder.name)
    assert end.status == 0, end.stderr
    assert ask(python, "by_other_file").status == 0
    written = [path for path in model_folder.rglob("*") if path not in before]
    # Python's cache of the imported backend.
    assert {path.suffix for path in written} <= {"", ".pyc"}
    assert {path.name for path in written if not path.suffix} <= {"__pycache__"}


def test_uv_is_used_without_pip(
    fresh_python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    write_wheel(model("by_uv"), "by_uv")
    end = ask(fresh_python, "by_uv")
    assert (end.status, end.stdout) == (0, "sees 1.0\n"), end.stderr


@pytest.mark.parametrize("name", ["python", "fresh_python"])
def test_installed_engine_packages_may_be_listed(
    request: pytest.FixtureRequest, model: Callable[[str], Path], ask: Ask, name: str
) -> None:
    # A local version (+cpu) satisfies the plain version.
    model("vllm==0.32.0\nTorch")
    end = ask(request.getfixturevalue(name), "vllm", PIP_NO_INDEX="1", UV_OFFLINE="1")
    assert "sees 0.32.0+cpu\n" in end.stdout, end.stderr


def test_packages_the_engine_does_not_need_can_be_replaced(
    fresh_python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    write_wheel(model("other==2.0"), "other", "2.0")
    assert ask(fresh_python, "other").stdout == "sees 2.0\n"


# --- failures ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["python", "fresh_python"])
@pytest.mark.parametrize(
    ("wanted", "named"), [("torch==3.0", "torch==2.0"), ("wants_torch", "")]
)
def test_packages_the_engine_needs_are_kept(
    request: pytest.FixtureRequest,
    model: Callable[[str], Path],
    ask: Ask,
    name: str,
    wanted: str,
    named: str,
) -> None:
    python = request.getfixturevalue(name)
    folder = model(wanted)
    write_wheel(folder, "torch", "3.0")
    write_wheel(folder, "wants_torch", "1.0", ["torch==3.0"])
    end = ask(python, "torch")
    assert end.status == 1
    assert "sees" not in end.stdout
    output = end.stdout + end.stderr
    assert "torch==3.0" in output
    assert "torch==2.0" in output
    reason = end.stderr.splitlines()[-1]
    assert reason.startswith(f"standard-supervisor: {folder}.txt cannot be installed")
    assert f"names packages of the engine: {named}." in reason or not named
    assert "STANDARD_PIP_ARGS" in reason
    (folder.parent / "requirements.txt").unlink()
    assert ask(python, "torch").stdout == "sees 2.0\n"


@pytest.mark.parametrize(
    "arguments", ["-c /dev/null", "-c/dev/null", "--constraint=/dev/null"]
)
def test_arguments_override_engine_constraints(
    fresh_python: Path, model: Callable[[str], Path], ask: Ask, arguments: str
) -> None:
    write_wheel(model("torch==3.0"), "torch", "3.0")
    end = ask(fresh_python, "torch", STANDARD_PIP_ARGS=arguments)
    assert end.stdout == "sees 3.0\n", end.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("STANDARD_PIP_ARGS", "-c 'x"), ("STANDARD_AUTO_INSTALL_REQ", "perhaps")],
)
def test_bad_value_is_named(
    python: Path, model: Callable[[str], Path], ask: Ask, name: str, value: str
) -> None:
    model("")
    end = ask(python, "torch", **{name: value})
    assert (end.status, end.stdout) == (1, "")
    assert f"{name}={value!r} is not allowed" in end.stderr


def test_build_failure_is_reported(
    tmp_path: Path, python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    folder = model("./broken")
    write_source(
        folder.parent / "broken",
        f"""
        import os, signal, subprocess
        from pathlib import Path
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        Path({str(tmp_path / "blocked")!r}).write_text(str(blocked))
        # pip reads the backend's output until all writers have closed it.
        worker = subprocess.Popen(
            ["sleep", "1000"], start_new_session=True, stdout=-3, stderr=-3
        )
        Path({str(tmp_path / "worker")!r}).write_text(str(worker.pid))
        [kept] = Path(os.environ["TMPDIR"]).glob("mhcs-*/constraints.txt")
        Path({str(tmp_path / "mode")!r}).write_text(oct(kept.stat().st_mode))
        raise RuntimeError("no compiler is installed")
        """,
    )
    (tmp_path / "tmp").mkdir()
    end = ask(python, "torch", TMPDIR=str(tmp_path / "tmp"))
    assert (end.status, "sees" in end.stdout) == (1, False)
    assert "RuntimeError: no compiler is installed" in end.stdout + end.stderr
    reason = end.stderr.splitlines()[-1]
    assert f"{folder}.txt cannot be installed (status 1)" in reason
    # Its processes are killed; our file was private, and is removed.
    assert not is_running(int((tmp_path / "worker").read_text()))
    assert (tmp_path / "mode").read_text() == "0o100600"
    assert (tmp_path / "blocked").read_text() == "set()"
    assert not [*(tmp_path / "tmp").glob("mhcs-*")]


def test_requirements_that_are_not_a_file_are_an_error(
    python: Path, model_folder: Path, ask: Ask
) -> None:
    file = model_folder / "requirements.txt"
    file.mkdir()
    assert ask(python, "torch").stderr.endswith(f"Is a directory: '{file}'\n")
    file.rmdir()
    file.symlink_to("nowhere")
    assert ask(python, "torch").stderr.endswith(
        f"No such file or directory: '{file}'\n"
    )
    file.unlink()
    for raw in ("café".encode("latin-1"), b"\xff\xfe\xfa"):
        file.write_bytes(raw)
        end = ask(python, "torch")
        assert (end.status, end.stdout) == (1, "")
        assert (
            end.stderr
            == f"standard-supervisor: {file} is not UTF-8: save it as UTF-8.\n"
        )


#: Runs the supervisor without a uv beside its Python.
WITHOUT_UV: Final = """
import sys
from model_hosting_container_standards.supervisor import launch
sys.executable = "/nowhere/python"
sys.exit(launch.run(sys.argv[1:]))
"""


def test_missing_pip_and_uv_error_says_what_to_add(
    fresh_python: Path, model: Callable[[str], Path], model_folder: Path
) -> None:
    model("anything")
    env = {"SAGEMAKER_MODEL_PATH": str(model_folder), "PATH": "/usr/bin:/bin"}
    end = run_until_exit([sys.executable, "-c", WITHOUT_UV, fresh_python], env)
    assert end.status == 1
    assert f"add pip to the image with `{fresh_python} -m ensurepip`" in end.stderr


def test_python_that_cannot_list_packages_is_an_error(
    tmp_path: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    model("anything")
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    end = ask(broken, "torch")
    assert end.status == 1
    assert f"{broken}, the Python of the command, failed to list" in end.stderr


# --- an index that hangs -----------------------------------------------------------


def test_unresponsive_index_times_out(
    python: Path, model: Callable[[str], Path], ask: Ask
) -> None:
    folder = model("somewhere")
    with hanging_index() as (url, _):
        arguments = "--timeout 0.2 --retries 0"
        end = ask(python, "torch", PIP_INDEX_URL=url, STANDARD_PIP_ARGS=arguments)
    assert (end.status, "sees" in end.stdout) == (1, False)
    assert "No matching distribution found for somewhere" in end.stderr
    reason = end.stderr.splitlines()[-1]
    assert f"{folder}.txt cannot be installed" in reason
    assert f"put wheels into {folder}." in reason


LIMITED: Final = """
import sys
from model_hosting_container_standards.settings import read_settings
from model_hosting_container_standards.supervisor import requirements
try:
    requirements.install(sys.argv[1:], read_settings(), limit_s=3.0)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder, in which a killed pip may leave files, but we must not."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    assert not [*folder.glob("mhcs-*")]


def test_installation_has_a_time_limit(
    python: Path, model: Callable[[str], Path], model_folder: Path, temporary: Path
) -> None:
    folder = model("somewhere")
    with hanging_index() as (url, _):
        env = {"SAGEMAKER_MODEL_PATH": str(model_folder), "PIP_INDEX_URL": url}
        env["TMPDIR"] = str(temporary)
        process = Process([sys.executable, "-c", LIMITED, python], env)
        try:
            process.start()
            assert process.wait(30) == 1
            assert (
                f"RequirementsError: {folder}.txt was not installed within 3 seconds. "
                f"Put wheels of all its packages into {folder}:"
            ) in process.stderr()
            assert_nothing_runs(process.pid)
        finally:
            process.close()


def assert_nothing_runs(group: int) -> None:
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@pytest.fixture
def before() -> list[str]:
    """The command in front of the supervisor's."""
    return []


@pytest.fixture
def installing(
    python: Path,
    model: Callable[[str], Path],
    model_folder: Path,
    before: list[str],
    temporary: Path,
) -> Iterator[Process]:
    """A supervisor whose pip waits for an index."""
    model("somewhere")
    with hanging_index() as (url, server):
        env = {"SAGEMAKER_MODEL_PATH": str(model_folder), "PIP_INDEX_URL": url}
        env["TMPDIR"] = str(temporary)
        command = [*before, SUPERVISOR, str(python), "-c", SEES, "torch"]
        process = Process(command, env)
        try:
            process.start()
            with server.accept()[0]:
                yield process
        finally:
            process.close()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"])
def test_signal_ends_installation_at_once(installing: Process, name: str) -> None:
    os.kill(installing.pid, signal.Signals[name])
    assert installing.wait(10) == 128 + signal.Signals[name]
    assert_nothing_runs(installing.pid)
    assert "sees" not in installing.stdout()


@pytest.mark.parametrize("before", [PROCESS_1])
def test_signal_ends_installation_as_process_1(installing: Process) -> None:
    os.kill(supervisor_of(installing), signal.SIGTERM)
    assert installing.wait(10) == 128 + signal.SIGTERM
    assert_nothing_runs(installing.pid)


#: Executes a command that gets no SIGCHLD.
DEAF: Final = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_end_of_pip_is_noticed_with_sigchld_ignored(
    python: Path, model: Callable[[str], Path], model_folder: Path
) -> None:
    model("no_such_package")
    env = {"SAGEMAKER_MODEL_PATH": str(model_folder), "PIP_NO_INDEX": "1"}
    supervised = [SUPERVISOR, str(python), "-c", SEES, "torch"]
    command = [sys.executable, "-c", DEAF, *supervised]
    end = run_until_exit(command, env)
    assert (end.status, "cannot be installed" in end.stderr) == (1, True)


# --- mhcs serve --------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "status"), [(["--dry-run"], 0), ([], 1)])
def test_dry_run_installs_nothing(
    model: Callable[[str], Path], model_folder: Path, arguments: list[str], status: int
) -> None:
    write_wheel(model("somewhere"), "elsewhere")
    env = {"SM_TRTLLM_MODEL": "m", "SAGEMAKER_MODEL_PATH": str(model_folder)}
    command = [MHCS, "serve", *arguments]
    end = run_until_exit(command, environment_of(RELEASES[-1], env))
    assert end.status == status, end.stderr
    assert ("requirements.txt cannot be installed" in end.stderr) is bool(status)
