"""The source of a customer's file with middleware for every place in an app."""

from __future__ import annotations

from typing import Final

from model_hosting_container_standards.exceptions import (
    FormatterRegistrationError,
    MiddlewareError,
    MiddlewareRegistrationError,
)

MIDDLEWARE: Final = ("throttle", "pre_post_process")
FORMATTERS: Final = ("input_formatter", "output_formatter")
PLACES: Final = (*MIDDLEWARE, *FORMATTERS)

#: Objects that work in every place, and mark each response with a header.
SOURCE: Final = """
def _mark(message, name):
    if hasattr(message, "status_code"):
        message.headers["x-by"] = name
    else:
        message.scope["headers"].append((b"by", name.encode()))

async def fn(message, call_next=None):
    if call_next is None:
        _mark(message, "fn")
        return None
    response = await call_next(message)
    _mark(response, "fn")
    return response

class Class:
    async def __call__(self, message, call_next=None):
        return await fn(message, call_next)

    async def method(self, message, call_next=None):
        return await fn(message, call_next)

    @classmethod
    async def of_class(cls, message, call_next=None):
        return await fn(message, call_next)

    @staticmethod
    async def static(message, call_next=None):
        return await fn(message, call_next)

instance = Class()
number = 7

class Raising:
    def __init__(self):
        raise KeyError("no weights")

    def __call__(self, message, call_next=None):
        return None

    def method(self, message, call_next=None):
        return None

class RaisingASGI:
    def __init__(self, app):
        raise KeyError("no weights")

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)

class Silent:
    pass

def of_none(): pass
def of_three(one, two, three): pass
"""


def error_of(place: str) -> type[MiddlewareError]:
    """Return the class of registration errors for a place."""
    if place in MIDDLEWARE:
        return MiddlewareRegistrationError
    return FormatterRegistrationError
