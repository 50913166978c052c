"""From a code reference such as ``model.py:fn`` to the object it names."""

from ...customer_code.file_loader import FileLoader
from ...customer_code.function_loader import FunctionLoader
from ...customer_code.module_loader import ModuleLoader

__all__ = ["FileLoader", "FunctionLoader", "ModuleLoader"]
