"""From a code reference such as ``model.py:fn`` to the object it names."""

from .file_loader import FileLoader
from .function_loader import FunctionLoader
from .module_loader import ModuleLoader

__all__ = ["FileLoader", "FunctionLoader", "ModuleLoader"]
