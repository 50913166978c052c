"""Makes torch ignore requests for page-locked memory.

SGLang requests it for the parameters of adapters, and torch has none without a GPU.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

#: The functions of torch that take `pin_memory`.
FUNCTIONS: Final = (
    *("arange", "empty", "empty_like", "empty_strided", "full", "full_like", "ones"),
    *("ones_like", "rand", "randint", "randn", "tensor", "zeros", "zeros_like"),
)


def ignore_requests() -> None:
    """Change torch, which calls this at the end of its import.

    It does so for the entry points in `torch.backends`, which extend it by devices.
    """
    import torch

    for name in FUNCTIONS:
        setattr(torch, name, without_pin_memory(getattr(torch, name)))
    torch.Tensor.pin_memory = lambda tensor, *_args, **_kwargs: tensor


def without_pin_memory(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("pin_memory", None)
        return function(*args, **kwargs)

    return call
