"""The headers of a request by name, looked at once."""

from __future__ import annotations

from typing import Any

import pytest

from model_hosting_container_standards.asgi.header_values import (
    header_values,
    set_header,
)

A, B = (b"a", b"1"), (b"b", b"2")


def scope_with(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": [*headers]}


def test_last_of_equal_names_counts() -> None:
    assert header_values(scope_with(A, B, (b"a", b"3"))) == {b"a": b"3", b"b": b"2"}


def test_headers_are_looked_at_once() -> None:
    scope = scope_with(A)
    assert header_values({**scope}) is not header_values(scope)
    assert header_values({**scope}) is header_values(scope)


def append(headers: list[tuple[bytes, bytes]]) -> None:
    headers.append(B)


def replace(headers: list[tuple[bytes, bytes]]) -> None:
    headers[0] = B


@pytest.mark.parametrize("change", [append, replace, list.clear])
def test_change_in_place_is_seen(change: Any) -> None:
    """As customers' middleware changes them, by Starlette's ``MutableHeaders``."""
    scope = scope_with(A)
    header_values(scope)
    change(scope["headers"])
    assert header_values(scope) == dict(scope["headers"])


def test_other_list_is_seen() -> None:
    scope = scope_with(A)
    header_values(scope)
    assert header_values({**scope, "headers": [B]}) == {b"b": b"2"}


# ASGI also allows lists as items.
@pytest.mark.parametrize(
    "before", [[B], [A, B], [A, B, (b"a", b"3")], [[b"a", b""], B]]
)
def test_replaced_header_is_the_only_one_of_its_name(
    before: list[Any],
) -> None:
    scope = scope_with(*before)
    set_header(scope, dict(scope["headers"]), b"a", b"4")
    assert scope["headers"] == [B, (b"a", b"4")]
    assert header_values(scope) == {b"a": b"4", b"b": b"2"}


def test_replacing_leaves_the_list_of_the_server_unchanged() -> None:
    scope = scope_with(A)
    headers = scope["headers"]
    set_header(scope, dict(scope["headers"]), b"a", b"4")
    assert headers == [A]
