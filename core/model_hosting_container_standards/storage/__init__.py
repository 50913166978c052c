"""Storage of state that outlives a process and is shared by several."""

from .byte_locks import ByteLocks
from .container import container_id
from .database import Database
from .folder import private_folder

__all__ = ["ByteLocks", "Database", "container_id", "private_folder"]
