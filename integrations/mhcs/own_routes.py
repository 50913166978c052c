"""What engines share for their own routes: adapters that ``/adapters`` manages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException

from model_hosting_container_standards.engines import RegisteredAdapters, locate
from model_hosting_container_standards.exceptions import AdapterError, StorageError


def refuse_registered(adapters: RegisteredAdapters, request: Any) -> None:
    """Refuse an engine's own request to load or unload a registered adapter.

    Args:
        request: has ``lora_name``, and ``lora_path`` if it loads the adapter.

    Raises:
        HTTPException: 409, ``/adapters`` manages this name; or the error of a path
            outside of ``SAGEMAKER_ADAPTERS_ROOT``.
    """
    registered = adapters.view().get(request.lora_name)
    if registered is not None and not registered.by_handler:
        raise HTTPException(
            409,
            f"Adapter {request.lora_name!r} is registered at /adapters: use "
            "DELETE /adapters/NAME, or POST /adapters with load_inplace.",
        )
    if adapters.root is not None and hasattr(request, "lora_path"):
        with http_errors():
            locate(request.lora_path, adapters.root)


@contextmanager
def http_errors() -> Iterator[None]:
    """Raise an adapter's error within the block as the one that clients get."""
    try:
        yield
    except AdapterError as error:
        raise HTTPException(error.status_code, str(error)) from None
    except StorageError as error:
        raise HTTPException(507, str(error)) from None


def hold_leases(
    adapters: RegisteredAdapters, method: Callable[..., Any]
) -> Callable[..., Any]:
    """Wrap a background task of several generations: it holds its request's leases."""

    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        return adapters.outliving_request(functools.partial(method, *args, **kwargs))

    return run
