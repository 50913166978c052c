"""State that outlives a process and is seen by several: one SQLite file each."""

from .container import container_id
from .database import Database
from .folder import private_folder
from .locks import ByteLocks

__all__ = ["ByteLocks", "Database", "container_id", "private_folder"]
