"""The plugin of SGLang (entry-point group ``sglang.srt.plugins``), since 0.5.11."""

from __future__ import annotations

from importlib import import_module

__all__ = ["activate"]


def activate() -> None:
    """Patch the installed engines, unless the environment disables that.

    SGLang calls it early in every one of its processes; no variable has to be set.
    """
    import_module("mhcs.auto")
