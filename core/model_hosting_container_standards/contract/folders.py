"""Folders that a container has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: In memory: it lives as long as the container, and never waits for a disk.
SHARED_MEMORY: Final = Path("/dev/shm")
