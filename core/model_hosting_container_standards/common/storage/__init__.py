"""State that outlives a process and is seen by several: one SQLite file each."""

from .database import Database
from .folder import private_folder
from .locks import ByteLocks

__all__ = ["ByteLocks", "Database", "private_folder"]
