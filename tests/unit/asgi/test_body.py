from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from model_hosting_container_standards.asgi.body import (
    JSONBody,
    JSONRequest,
    decode_json,
    peek_body,
    read_body,
    replace_body,
    replace_json_body,
)
from model_hosting_container_standards.asgi.body_field import edit_body

json_documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters()),  # lone surrogates too
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def receive_of(*chunks: bytes, disconnect: bool = False) -> Receive:
    """Return a ``receive`` that delivers a body in chunks, or a disconnect."""
    last = len(chunks) - 1
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": disconnect or i < last}
        for i, chunk in enumerate(chunks)
    ]
    pending = iter([*messages, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(pending)

    return receive


def outcome(decode: Callable[[bytes], Any], raw: bytes) -> str:
    try:
        return repr(decode(raw))
    except ValueError as error:
        return f"{type(error)}: {error}"


@given(json_documents)
def test_documents_are_decoded_like_the_standard_library(document: Any) -> None:
    raw = json.dumps(document).encode()
    assert outcome(decode_json, raw) == outcome(json.loads, raw)


@given(st.binary())
def test_invalid_bodies_fail_like_the_standard_library(raw: bytes) -> None:
    assert outcome(decode_json, raw) == outcome(json.loads, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"1e400",
        b"[NaN, Infinity]",
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        '{"a": "\u00e9"}'.encode("utf-16"),
        b'"\xff"',
        b"",
        b"1" * 5000,
    ],
)
def test_standard_library_decodes_what_msgspec_rejects(raw: bytes) -> None:
    assert outcome(decode_json, raw) == outcome(json.loads, raw)


def test_body_nested_too_deeply_is_not_json() -> None:
    with pytest.raises(json.JSONDecodeError, match="Nested too deeply"):
        decode_json(b"[" * 100_000)


@given(st.dictionaries(st.text(st.characters()), json_documents))
def test_edited_body_matches_its_document(document: dict[str, Any]) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["model"] = "other"

    body = JSONBody(json.dumps(document).encode(), edit)
    assert repr(body.document) == repr({**document, "model": "other"})
    assert repr(json.loads(body.raw)) == repr(body.document)


def test_changing_document_does_not_change_body() -> None:
    body = JSONBody(b'{"prompt": NaN}', lambda document: None)
    body.document["prompt"] = "changed"
    assert math.isnan(json.loads(body.raw)["prompt"])


@pytest.mark.parametrize("raw", [b"[1]", b'"a"', b"null"])
def test_only_objects_can_be_edited(raw: bytes) -> None:
    with pytest.raises(TypeError, match="not an object"):
        JSONBody(raw, lambda document: None)


async def test_body_is_read_completely() -> None:
    assert await read_body(receive_of(b"a", b"", b"b")) == b"ab"


async def test_incomplete_body_is_a_disconnect() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(receive_of(b"a", disconnect=True))


@pytest.mark.parametrize(
    ("chunks", "seen"),
    [
        ((b"ab", b"c"), b"abc"),
        ((b"",), b""),
        ((b"abcd",), b"abcd"),
        ((b"abc", b"de"), None),
        ((b"abcdefgh",), None),
    ],
)
async def test_peek_sees_short_bodies_without_consuming_them(
    chunks: tuple[bytes, ...], seen: bytes | None
) -> None:
    body, receive = await peek_body(receive_of(*chunks), limit=4)
    assert body == seen
    assert await read_body(receive) == b"".join(chunks)
    assert (await receive())["type"] == "http.disconnect"


async def test_peek_leaves_disconnect_to_handler() -> None:
    body, receive = await peek_body(receive_of(b"a", disconnect=True), limit=4)
    assert body is None
    with pytest.raises(ClientDisconnect):
        await read_body(receive)


async def test_replaced_body_is_followed_by_later_messages() -> None:
    receive = receive_of(b"old")
    await read_body(receive)
    replaced = replace_body(receive, b"new")
    assert await read_body(replaced) == b"new"
    assert (await replaced())["type"] == "http.disconnect"


async def test_every_reader_sees_replaced_json_body() -> None:
    receive = receive_of(b"{}")
    await read_body(receive)
    scope = {
        "type": "http",
        "headers": [(b"content-length", b"2"), (b"accept", b"*/*")],
    }
    body = JSONBody(b"{}", lambda document: document.update(model="a"))
    changed, replaced = replace_json_body(scope, receive, body)
    request = JSONRequest(changed, replaced)
    assert await request.json() == {"model": "a"}
    assert json.loads(await request.body()) == {"model": "a"}
    assert request.headers.keys() == ["accept", "content-type"]
    assert json.loads(await read_body(request.receive)) == {"model": "a"}
    assert (await request.receive())["type"] == "http.disconnect"


async def test_views_of_a_request_share_its_body() -> None:
    request = Request({"type": "http", "headers": []}, receive_of(b'{"a": 1}'))
    assert await request.body() == b'{"a": 1}'
    same = JSONRequest.of(request)
    document = await same.json()
    assert document == {"a": 1}
    assert await request.json() is document


async def test_peeked_body_is_there_for_every_reader() -> None:
    _, receive = await peek_body(receive_of(b'{"a": 1}'), limit=100)
    request = JSONRequest({"type": "http", "headers": []}, receive)
    assert await request.json() == {"a": 1}
    assert await request.body() == b'{"a": 1}'
    assert [chunk async for chunk in request.stream()] == [b'{"a": 1}', b""]
    assert (await request.receive())["type"] == "http.disconnect"


async def test_peeked_body_is_received_once() -> None:
    _, receive = await peek_body(receive_of(b"abc"), limit=100)
    request = JSONRequest({"type": "http", "headers": []}, receive)
    assert b"".join([chunk async for chunk in request.stream()]) == b"abc"
    with pytest.raises(RuntimeError, match="consumed"):
        await request.body()


async def test_empty_peeked_body_is_empty() -> None:
    _, receive = await peek_body(receive_of(b""), limit=100)
    request = JSONRequest({"type": "http", "headers": []}, receive)
    assert await request.body() == b""
    with pytest.raises(json.JSONDecodeError):
        await request.json()


async def test_empty_body_that_was_read_is_not_awaited_again() -> None:
    """A server's ``receive`` then waits until the client disconnects."""
    messages: list[Message] = [{"type": "http.request", "body": b""}]

    async def receive() -> Message:
        return messages.pop()  # An IndexError, instead of waiting for ever.

    _, whole = await peek_body(receive, 10)
    with pytest.raises(HTTPException, match="JSON object"):
        await edit_body({"headers": []}, whole, "X-Header", lambda document: None)
