"""A path of 0.1.x: handler specs are in :mod:`...handlers.spec`."""

from ...handlers.spec import HandlerSpec, parse_handler_spec

__all__ = ["HandlerSpec", "parse_handler_spec"]
