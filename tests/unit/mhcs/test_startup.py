from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from typing import ClassVar

import pytest

from mhcs import _startup
from model_hosting_container_standards.engines.registry import installed_engines


@pytest.fixture(autouse=True)
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in _startup.CUSTOMISING_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    _startup.disarm()
    yield
    _startup.disarm()


def armed() -> bool:
    return _startup.EngineFinder in sys.meta_path


@pytest.mark.parametrize("value", ["1", "true", "ON", "banana"])
def test_mhcs_auto_arms(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MHCS_AUTO", value)
    _startup.arm()
    _startup.arm()
    assert sys.meta_path.count(_startup.EngineFinder) == 1


@pytest.mark.parametrize("value", ["0", "FALSE", "no", "off"])
def test_disabling_mhcs_auto_overrides_customising_variables(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MHCS_AUTO", value)
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", "/opt/ml/model")
    _startup.arm()
    assert not armed()


@pytest.mark.parametrize("name", _startup.CUSTOMISING_VARIABLES)
def test_customising_variable_arms(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, " ")
    _startup.arm()
    assert not armed()
    monkeypatch.setenv(name, "x")
    _startup.arm()
    assert armed()
    assert _startup.reason_to_patch() == f"{name}=x"


def test_finder_knows_every_installed_engine() -> None:
    assert _startup.engine_modules() == {engine.name for engine in installed_engines()}


def test_engine_import_imports_auto_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_AUTO", "1")
    _startup.arm()
    monkeypatch.delitem(sys.modules, "mhcs.auto", raising=False)
    _startup.EngineFinder.find_spec("vllm_other")
    assert "mhcs.auto" not in sys.modules
    _startup.EngineFinder.find_spec("vllm")
    assert "mhcs.auto" in sys.modules
    monkeypatch.delitem(sys.modules, "mhcs.auto")
    _startup.EngineFinder.find_spec("vllm")
    assert "mhcs.auto" not in sys.modules


def test_other_finders_are_still_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class NextFinder:
        asked: ClassVar[list[str]] = []

        @classmethod
        def find_spec(cls, name: str, *_: object) -> None:
            cls.asked.append(name)

    monkeypatch.setenv("MHCS_AUTO", "1")
    monkeypatch.setenv("MHCS_DISABLE", "*")
    monkeypatch.setattr(sys, "meta_path", [NextFinder, *sys.meta_path])
    _startup.arm()
    monkeypatch.delitem(sys.modules, "mhcs.auto", raising=False)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("tensorrt_llm")
    assert "tensorrt_llm" in NextFinder.asked


def test_broken_installation_does_not_stop_the_engine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MHCS_AUTO", "1")
    _startup.arm()
    monkeypatch.setitem(sys.modules, "mhcs.auto", None)
    _startup.EngineFinder.find_spec("vllm")
    assert "engines are not patched, reinstall mhcs" in capsys.readouterr().err
