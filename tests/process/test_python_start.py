"""The effect of ``mhcs.pth`` on every start of Python in the environment."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Final

import pytest

import mhcs
from layouts import environment_of
from servers import Exit, run_until_exit

ARMED: Final = {"MHCS_AUTO": "1"}
CUSTOMISED: Final = {"SAGEMAKER_MODEL_PATH": "/opt/ml/model"}
FLAGS: Final = ((), ("-I",), ("-E",), ("-s",))

SHOW_MODULES: Final = "import json, sys; print(json.dumps(sorted(sys.modules)))"
SHOW_FINDERS: Final = (
    "import json, sys; "
    "print(json.dumps([getattr(f, '__name__', '') for f in sys.meta_path]))"
)
BREAKS: Final = {
    "ImportError": "raise ImportError('half removed')",
    "SyntaxError": "def half_written(",
}


def python(code: str, *flags: str, env: dict[str, str] | None = None) -> Exit:
    return run_until_exit([sys.executable, *flags, "-c", code], env)


def shown(end: Exit) -> list[str]:
    """Return the list that the process printed; it must have printed nothing else."""
    assert end.status == 0
    assert end.stderr == ""
    found: list[str] = json.loads(end.stdout)
    return found


def ours(modules: list[str]) -> list[str]:
    mine = ("mhcs", "model_hosting_container_standards")
    return [name for name in modules if name.split(".")[0] in mine]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("env", [ARMED, CUSTOMISED], ids=str)
def test_finder_is_installed_if_enabled(
    flags: tuple[str, ...], env: dict[str, str]
) -> None:
    assert "EngineFinder" in shown(python(SHOW_FINDERS, *flags, env=env))


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("env", [{}, {"MHCS_AUTO": "0", **CUSTOMISED}], ids=str)
def test_finder_is_not_installed_by_default(
    flags: tuple[str, ...], env: dict[str, str]
) -> None:
    assert "EngineFinder" not in shown(python(SHOW_FINDERS, *flags, env=env))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, []),
        ({"HOME": "/SAGEMAKER_MODEL_PATH"}, []),
        (ARMED, ["mhcs", "mhcs._startup"]),
        (CUSTOMISED, ["mhcs", "mhcs._startup"]),
    ],
    ids=str,
)
def test_startup_imports_only_one_small_module(
    env: dict[str, str], expected: list[str]
) -> None:
    modules = shown(python(SHOW_MODULES, env=env))
    assert ours(modules) == expected
    assert not {"wrapt", "fastapi", "starlette", "pydantic"} & {*modules}


def test_startup_module_imports_only_os_and_sys() -> None:
    code = (
        "import os, sys; before = {*sys.modules}; import mhcs._startup; "
        "print(*sorted({*sys.modules} - before))"
    )
    source = str(Path(mhcs.__file__).parents[1])
    end = run_until_exit([sys.executable, "-S", "-c", code], {"PYTHONPATH": source})
    assert end.stdout.split() == ["mhcs", "mhcs._startup"]


def test_other_imports_do_not_trigger_patching() -> None:
    code = f"import json, email, http.client\n{SHOW_MODULES}"
    assert ours(shown(python(code, env=ARMED))) == ["mhcs", "mhcs._startup"]


def test_engine_import_does_not_require_fastapi() -> None:
    env = environment_of("v0_29", ARMED)
    modules = shown(python(f"import vllm\n{SHOW_MODULES}", env=env))
    assert "mhcs.vllm.hooks" in modules
    assert "fastapi" not in modules


def test_missing_engine_is_still_an_import_error(tmp_path: Path) -> None:
    end = python("import tensorrt_llm", env=ARMED)
    assert "ModuleNotFoundError: No module named 'tensorrt_llm'" in end.stderr


# --- broken installations ----------------------------------------------------------


def broken_package(folder: Path, name: str, source: str) -> dict[str, str]:
    """Return variables with which ``name`` is a package of this source."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(source)
    return {"PYTHONPATH": str(folder), **ARMED}


@pytest.mark.parametrize("source", BREAKS.values(), ids=BREAKS.keys())
def test_broken_mhcs_does_not_disturb_python_startup(
    tmp_path: Path, source: str
) -> None:
    env = broken_package(tmp_path, "mhcs", source)
    assert python("print('alive')", env=env) == Exit(0, "alive\n", "")


def test_missing_startup_module_does_not_disturb_python_startup(tmp_path: Path) -> None:
    env = broken_package(tmp_path, "mhcs", "")
    assert python("print('alive')", env=env) == Exit(0, "alive\n", "")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("model_hosting_container_standards", "ImportError"),
        ("wrapt", "ImportError"),
        ("wrapt", "SyntaxError"),
    ],
)
def test_engine_is_imported_without_patching_dependencies(
    tmp_path: Path, name: str, error: str
) -> None:
    env = environment_of("v0_6", ARMED)
    broken = broken_package(tmp_path, name, BREAKS[error])
    env["PYTHONPATH"] = os.pathsep.join([broken["PYTHONPATH"], env["PYTHONPATH"]])
    end = python("import vllm; print(vllm.__version__)", env=env)
    assert (end.status, end.stdout) == (0, "0.6.6\n")
    [line] = end.stderr.splitlines()
    assert "patch" in line.lower()
