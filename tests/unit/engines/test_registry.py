"""The engines that installed distributions publish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_hosting_container_standards.engines.registry import (
    ENTRY_POINT_GROUP,
    engine_names,
    forget_engines,
)


@pytest.fixture
def later_distribution(tmp_path: Path) -> Iterator[Path]:
    """A folder for a distribution, the engines of which are forgotten in the end."""
    info = tmp_path / "later-1.dist-info"
    info.mkdir()
    yield info
    forget_engines()


def test_engine_that_is_installed_later_is_found_once_others_are_forgotten(
    later_distribution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "later" not in engine_names()
    (later_distribution / "METADATA").write_text("Name: later\nVersion: 1\n")
    entry_point = f"[{ENTRY_POINT_GROUP}]\nlater = later:engine\n"
    (later_distribution / "entry_points.txt").write_text(entry_point)
    monkeypatch.syspath_prepend(str(later_distribution.parent))
    assert "later" not in engine_names()
    forget_engines()
    assert "later" in engine_names()
