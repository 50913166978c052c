from __future__ import annotations

import logging

import pytest

from mhcs.guard import guarded


def fail() -> None:
    with guarded("Patching x", "y will be missing."):
        raise LookupError("no build_app")


def test_a_failure_is_one_error_that_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    for part in ("Patching x", "LookupError: no build_app", "y will be", "MHCS_STRICT"):
        assert part in record.getMessage()


@pytest.mark.parametrize("value", ["1", "no such word"])
def test_a_strict_guard_raises(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MHCS_STRICT", value)
    with pytest.raises(LookupError):
        fail()
