from __future__ import annotations

import logging
import sys
import traceback
from types import ModuleType

import pytest

from mhcs.patch_errors import guarded
from model_hosting_container_standards.exceptions import ConfigurationError


def fail() -> None:
    with guarded("Patching x", "y will be missing."):
        raise LookupError("no build_app")


def test_failure_is_one_error_that_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    for part in ("Patching x", "LookupError: no build_app", "y will be", "MHCS_STRICT"):
        assert part in record.getMessage()


def test_strict_guard_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_STRICT", "1")
    with pytest.raises(LookupError):
        fail()


def test_mpi_worker_logs_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MHCS_STRICT", "1")
    monkeypatch.setitem(sys.modules, "__worker__", ModuleType("__worker__"))
    fail()
    assert not caplog.records


def test_bad_strict_value_is_its_own_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MHCS_STRICT", "perhaps")
    with pytest.raises(ConfigurationError, match="MHCS_STRICT='perhaps'") as raised:
        fail()
    assert "no build_app" in "".join(traceback.format_exception(raised.value))
