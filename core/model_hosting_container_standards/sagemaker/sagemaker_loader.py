"""A name of 0.1.x: vLLM's tests reset it, to forget the scripts that were loaded."""

from __future__ import annotations

from typing import Any

from ..customer_code.file_loader import reset_loaded_files


class _Resetting(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "_default_function_loader" and value is None:
            reset_loaded_files()
        super().__setattr__(name, value)


class SageMakerFunctionLoader(metaclass=_Resetting):
    """Forgets every loaded file when ``_default_function_loader`` is set to None."""

    _default_function_loader: Any = None
