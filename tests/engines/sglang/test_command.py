"""The ``sglang`` command for ``mhcs serve``, from the files of a release."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mhcs.sglang.command import SGLangCommand
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import read_settings

LORA = ("--enable-lora",)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package that is laid out as SGLang is."""
    folder = tmp_path / "sglang"
    (folder / "srt").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "srt" / "server_args.py").write_text(
        'class ServerArgs:\n    tp_size: int = 1\n\nparser.add_argument("--old-name")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sglang", raising=False)
    return folder


def test_model_is_an_option() -> None:
    command = SGLangCommand()
    assert command.command("m") == ["sglang", "serve", "--model-path", "m"]
    assert command.command(None) == ["sglang", "serve"]


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("--tp-size", True), ("--old-name", True), ("--tp-sise", False)],
)
def test_options_are_found_in_the_sources(
    package: Path, flag: str, expected: bool
) -> None:
    assert SGLangCommand().mentions(flag) is expected


def test_model_of_a_configuration_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "sglang.yaml"
    file.write_text("model_path: m\ntp-size: 2\n")
    assert SGLangCommand().read_config(file) == {"model": "m", "tp-size": 2}
    file.write_text("tp-size: 2\n")
    assert SGLangCommand().read_config(file) == {"tp-size": 2}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (LORA, ["--max-loaded-loras", "8"]),
        ((*LORA, "--max-loras-per-batch", "4"), ["--max-loaded-loras", "8"]),
        ((*LORA, "--max-loaded-loras=3"), []),
        ((), []),
    ],
)
def test_number_of_adapters_in_memory_is_an_option(
    monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], expected: list[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY", "8")
    assert SGLangCommand().default_arguments(read_settings(), given) == expected


def test_fewer_adapters_in_memory_than_slots_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_MAX_NUMBER_OF_ADAPTERS_IN_MEMORY", "2")
    given = (*LORA, "--max-loras-per-batch", "4")
    with pytest.raises(ConfigurationError, match="--max-loras-per-batch, which is 4"):
        SGLangCommand().default_arguments(read_settings(), given)
