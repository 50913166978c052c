"""The Python that requirements are installed for, and the engine's packages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from model_hosting_container_standards.supervisor import constraints
from model_hosting_container_standards.supervisor.constraints import names_in, versions
from model_hosting_container_standards.supervisor.interpreter import python_of
from venvs import UV, make_venv, run
from wheels import write_wheel

# --- the Python of a command -------------------------------------------------------


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_venv(tmp_path_factory.mktemp("venv") / "venv").parent


def write_script(path: Path, *lines: str) -> str:
    path.write_text("\n".join([*lines, ""]))
    path.chmod(0o755)
    return str(path)


def test_python_command_uses_itself(
    venv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A link, whose location determines the environment: it must not be resolved.
    assert python_of([str(venv / "python3"), "-m", "vllm"]) == venv / "python3"
    monkeypatch.setenv("PATH", str(venv))
    assert python_of(["python"]) == venv / "python"
    monkeypatch.chdir(venv)
    assert python_of(["./python"]) == venv / "python"


@pytest.mark.parametrize("length", [0, 200])
@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize("by", ["uv", "pip"])
def test_script_uses_python_of_its_shebang(
    tmp_path: Path, length: int, space: str, by: str
) -> None:
    folder = tmp_path / f"a{space}{'b' * length}"
    python = make_venv(folder, *(["--seed"] if by == "pip" else []))
    wheel = write_wheel(tmp_path, "thing", scripts="thing = thing:main")
    pip = [str(python), "-m", "pip", "install", "--no-index"]
    uv = [*UV, "pip", "install", "--offline", "--python", str(python)]
    run(*(uv if by == "uv" else pip), str(wheel))
    # Move it, so that its folder does not reveal the environment.
    script = (folder / "bin" / "thing").rename(tmp_path / "thing")
    assert python_of([str(script)]) == python


@pytest.mark.parametrize(
    "line",
    ["/usr/bin/env python3", "/usr/bin/env -S python3 -u", "/usr/bin/env A=b python3"],
)
def test_env_shebang_uses_path(
    tmp_path: Path, venv: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(venv), os.environ["PATH"]]))
    assert python_of([write_script(tmp_path / "x", f"#!{line}")]) == venv / "python3"


@pytest.mark.parametrize(
    "lines",
    [
        ["#!/bin/sh", "exec something"],
        # As uv writes it into relocatable environments.
        ["#!/bin/sh", '\'\'\'exec\' "$(dirname "$0")"/\'python\' "$0" "$@"', "' '''"],
        ["#!/bin/sh", "'''exec' \"unfinished"],
        ["#!/no/such/python3"],
        ["#!/usr/bin/env"],
        ["#!"],
        ["\x7fELF"],
    ],
)
def test_other_commands_use_python_of_their_environment(
    tmp_path: Path, venv: Path, lines: list[str]
) -> None:
    script = write_script(venv / "what", *lines)
    assert python_of([script]) == venv / "python"
    link = tmp_path / "link"
    link.symlink_to(script)
    assert python_of([str(link)]) == venv / "python"
    elsewhere = write_script(tmp_path / "what", *lines)
    assert python_of([elsewhere]) == Path(sys.executable)


def test_missing_command_uses_our_python() -> None:
    assert python_of(["no-such-command"]) == Path(sys.executable)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_command_uses_python_of_its_environment(venv: Path) -> None:
    script = Path(write_script(venv / "secret", f"#!{sys.executable}"))
    script.chmod(0o111)
    assert python_of([str(script)]) == venv / "python"


# --- the engine's requirements -----------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all packages."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), str(tmp_path / "base")])
    return tmp_path / "site"


def put(site: Path, name: str, version: str, *requires: str, modules: str = "") -> None:
    info = site / f"{name}.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    named = f"Name: {name}\n" if name else ""
    text = f"Metadata-Version: 2.1\n{named}Version: {version}\n{needs}"
    (info / "METADATA").write_text(text)
    if modules:
        (info / "top_level.txt").write_text(f"{modules}\n")


def test_engine_requirements_are_transitive(site: Path) -> None:
    put(site, "vllm", "0.32.0+cpu", "Torch_X (>=2)", "gone; extra == 'x'", "not_here")
    put(site, "torch.x", "2.13.0+cpu", "numpy>=1; python_version > '3'")
    put(site, "numpy", "2.0rc1", "vllm")
    put(site, "gone", "1")
    put(site, "pandas", "3", "numpy")
    pins = {"numpy": "2.0rc1", "torch-x": "2.13.0+cpu", "vllm": "0.32.0+cpu"}
    assert versions(["vllm", "tensorrt_llm"]) == pins
    assert versions(["other"]) == {}


def test_requested_extras_are_included(site: Path) -> None:
    put(site, "vllm", "1", "fastapi[Standard, all_of]>=0.115", "ray[x]; extra=='ray'")
    put(site, "fastapi", "2", "uvicorn; extra == 'standard'", "b; extra == 'docs'")
    put(site, "uvicorn", "3", "fastapi[standard]")
    put(site, "ray", "4")
    put(site, "b", "5")
    assert versions(["vllm"]) == {"fastapi": "2", "uvicorn": "3", "vllm": "1"}


def test_engine_distribution_may_differ_from_module_name(site: Path) -> None:
    put(site, "tensorrt-llm-nightly", "1", "torch", modules="tensorrt_llm\nother")
    put(site, "torch", "2")
    assert versions(["tensorrt_llm"]) == {"tensorrt-llm-nightly": "1", "torch": "2"}


def test_first_valid_distribution_is_used(site: Path) -> None:
    put(site, "vllm", "1.0.post1.dev2", "odd", "nameless")
    put(site.parent / "base", "vllm", "2.0")
    put(site, "odd", "1.0-of-mine")
    put(site, "", "1")
    (site / "nameless.dist-info").mkdir()
    assert versions(["vllm"]) == {"vllm": "1.0.post1.dev2"}


@pytest.mark.parametrize(
    "version", ["1", "2024.1", "1!2.0", "1.0a1", "1.0.rc-1", "1.0.post1.dev2+a.1_b"]
)
def test_versions_match_pip(site: Path, version: str) -> None:
    put(site, "vllm", version)
    assert versions(["vllm"]) == {"vllm": version}


def test_requirement_names_are_parsed_from_lines() -> None:
    text = "# comment\n\nTorch_x==1 # why\n-r other\n./local\n a[b]>=1\nc @ file:///x"
    assert [*names_in(text.splitlines())] == ["torch-x", "a", "c"]


def test_other_python_is_queried(venv: Path, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "asked")
    python = str(venv / "python")
    run(*UV, "pip", "install", "--offline", "--python", python, str(wheel))
    output = run(python, constraints.__file__, "asked")
    assert json.loads(output.splitlines()[-1]) == {
        "python": python,
        "has_pip": False,
        "versions": {"asked": "1.0"},
    }


def test_this_python_gives_the_same_result(capsys: pytest.CaptureFixture[str]) -> None:
    constraints.main(["model_hosting_container_standards"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["python"] == sys.executable
    assert "model-hosting-container-standards" in found["versions"]
