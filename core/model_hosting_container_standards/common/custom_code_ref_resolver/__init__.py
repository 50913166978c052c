"""From a code reference such as ``model.py:fn`` to the object it names."""

from ...customer_code.file_loader import FileLoader
from ...customer_code.function_loader import FunctionLoader
from ...customer_code.module_loader import ModuleLoader
from ...handlers.spec import HandlerSpec, parse_handler_spec

__all__ = [
    "FileLoader",
    "FunctionLoader",
    "HandlerSpec",
    "ModuleLoader",
    "parse_handler_spec",
]
