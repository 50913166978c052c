"""The names of ``tensorrt_llm.executor`` that a server or a customer imports."""

from .request import LoRARequest
from .utils import RequestError


class CppExecutorError(RuntimeError):
    """The engine has crashed; handlers then end the server by SIGINT."""


__all__ = ["CppExecutorError", "LoRARequest", "RequestError"]
