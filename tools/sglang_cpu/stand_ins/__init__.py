"""Lets SGLang run on a CPU without packages of which a text model needs nothing.

An environment's `sglang_cpu.pth` calls `install` whenever Python starts. torch itself
calls functions of `pinned_memory` and `slow_workers`, by entry points.
"""

import sys

from .modules import StandInFinder


def install() -> None:
    """Add the finder, behind the others: an installed package takes precedence."""
    sys.meta_path.append(StandInFinder())
