"""Tests of this folder use a stand-in for Ray, which is not installed beside vLLM."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import mhcs.ray  # noqa: F401 # Kept by the fixture: it does not use Ray.
from real import ROOT

STANDIN = ROOT / "tests" / "support" / "standins" / "ray_2_60"


@pytest.fixture
def ray_standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the stand-in importable, and forget it and what uses it afterwards."""
    monkeypatch.syspath_prepend(str(STANDIN))
    before = {*sys.modules}
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
    for name in {*sys.modules} - before:
        package, _, module = name.rpartition(".")
        if name.partition(".")[0] == "ray" or package == "mhcs.ray":
            del sys.modules[name]
        if package == "mhcs.ray":
            delattr(sys.modules[package], module)
