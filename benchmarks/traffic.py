"""The measured requests, as ASGI messages and as bytes on a connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from exchange import Exchange, Message

PATH: Final = "/invocations"
ADAPTER_HEADER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
ADAPTER: Final = "my-adapter"
#: Value of MHCS_API_KEY when all operations are on.
KEY: Final = "8f7c3f0c7a444d7e9c7e3a1de4b0a7d1"
#: Values of ``Setup.operations``: always on, with key, limit and logs, with spans too.
ALWAYS_ON: Final = "ids and metrics"
TURNED_ON: Final = "all but spans"
ALL_ON: Final = "all"
SESSION_HEADER: Final = "X-Amzn-SageMaker-Session-Id"
#: Number of events in a streamed response, each in its own ASGI message.
EVENTS: Final = 200
#: Size of uvicorn's body messages, in bytes.
CHUNK: Final = 64 * 1024
_MEGABYTE: Final = 1_000_000
_SENTENCE: Final = (
    'The quick brown fox said "jump over the lazy dog", and so they did, all day.\n'
)
# Headers that a load balancer and SageMaker add.
_HEADERS: Final = (
    ("Host", "127.0.0.1:8080"),
    ("User-Agent", "AHC/2.0"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Connection", "keep-alive"),
    ("Content-Type", "application/json"),
    ("X-Forwarded-For", "10.32.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Amzn-Trace-Id", "Root=1-67891233-abcdef012345678912345678"),
    ("X-Amzn-SageMaker-Inference-Id", "8f7c3f0c-7a44-4d7e-9c7e-3a1de4b0a7d1"),
    ("X-Request-Id", "5f0e1a6c-6c1e-4b8e-8d4e-2f6f1c9b7a10"),
)


@dataclass(frozen=True, slots=True)
class Setup:
    """The configuration of the decorated app; each setup has its own process.

    Args:
        registered: number of registered adapters; 0: no engine is used, and the
            header is only written into the body.
        middleware: names of pass-through middleware.
        sessions: whether sessions are on, and each request belongs to one.
        operations: which operations are on; the app is then compared with the
            decorated app without any. "": it is compared with the bare app.
    """

    registered: int = 0
    middleware: tuple[str, ...] = ()
    sessions: bool = False
    operations: str = ""


PLAIN: Final = Setup()
FORMATTERS: Final = Setup(middleware=("input_formatter", "output_formatter"))
SESSIONS: Final = Setup(sessions=True)
IDS_AND_METRICS: Final = Setup(operations=ALWAYS_ON)
ALL_BUT_SPANS: Final = Setup(operations=TURNED_ON)
ALL_OPERATIONS: Final = Setup(operations=ALL_ON)
THROTTLE: Final = Setup(middleware=(*FORMATTERS.middleware, "throttle"))


@dataclass(frozen=True)
class Case:
    """One kind of request.

    Args:
        target: the highest acceptable ratio to the bare app.
        calls: how many requests are timed together.
        session: the id of the request's session, once it has been created.
    """

    name: str
    title: str
    target: float
    document: Message
    with_adapter: bool
    calls: int
    setup: Setup = PLAIN
    session: str = ""

    @cached_property
    def body(self) -> bytes:
        return json.dumps(self.document).encode()

    @cached_property
    def headers(self) -> list[tuple[str, str]]:
        """Twelve headers, and those of the adapter, the session and the key."""
        length = ("Content-Length", str(len(self.body)))
        adapter = [(ADAPTER_HEADER, ADAPTER)] if self.with_adapter else []
        session = [(SESSION_HEADER, self.session)] if self.session else []
        guarded = self.setup.operations in (TURNED_ON, ALL_ON)
        key = [("Authorization", f"Bearer {KEY}")] if guarded else []
        return [*_HEADERS, length, *adapter, *session, *key]

    def exchange(self) -> Exchange:
        """Return a new request of this kind, for an ASGI app."""
        return Exchange("POST", PATH, self.raw_headers, self.chunks())

    @cached_property
    def wire(self) -> bytes:
        """The request in HTTP/1.1."""
        lines = [f"{name}: {value}" for name, value in self.headers]
        head = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", ""])
        return head.encode() + self.body

    @cached_property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return [(k.lower().encode(), v.encode()) for k, v in self.headers]

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), CHUNK):
            yield self.body[start : start + CHUNK]


def _chat(turns: int) -> Message:
    turn = [
        {"role": "user", "content": "Tell me a short story about a fox, please."},
        {"role": "assistant", "content": _SENTENCE},
    ]
    messages = turn * turns
    return {"model": "base", "messages": messages, "max_tokens": 64, "temperature": 0.7}


def _prompt(size: int) -> Message:
    prompt = _SENTENCE * (size // len(json.dumps(_SENTENCE).strip('"')))
    return {"model": "base", "prompt": prompt, "max_tokens": 64, "temperature": 0.7}


_SMALL: Final = _chat(1)
_PROMPT: Final = _prompt(_MEGABYTE)
_LONGER: Final = _prompt(10 * _MEGABYTE)
_STREAM: Final = {**_SMALL, "stream": True}
_MESSAGES: Final = _chat(
    _MEGABYTE // (len(json.dumps(_chat(2))) - len(json.dumps(_SMALL)))
)

CASES: Final = {
    case.name: case
    for case in (
        Case("small", "small body, no header", 1.05, _SMALL, False, 100),
        Case("small-adapter", "small body, adapter header", 1.05, _SMALL, True, 100),
        Case(
            "registered-8",
            "small body, adapter header, 8 registered adapters",
            1.05,
            _SMALL,
            True,
            100,
            Setup(registered=8),
        ),
        Case(
            "registered-1000",
            "small body, adapter header, 1,000 registered adapters",
            1.05,
            _SMALL,
            True,
            100,
            Setup(registered=1000),
        ),
        Case("prompt", "1 MB prompt, no header", 1.0, _PROMPT, False, 4),
        Case("prompt-adapter", "1 MB prompt, adapter header", 0.9, _PROMPT, True, 4),
        Case("messages", "1 MB of messages, no header", 1.0, _MESSAGES, False, 2),
        Case(
            "messages-adapter",
            "1 MB of messages, adapter header",
            0.9,
            _MESSAGES,
            True,
            2,
        ),
        Case("long", "10 MB prompt, no header", 1.0, _LONGER, False, 1),
        Case("long-adapter", "10 MB prompt, adapter header", 0.9, _LONGER, True, 1),
        Case("stream", "200 chunks, no header", 1.02, _STREAM, False, 5),
        Case("session", "small body, of a session", 1.2, _SMALL, False, 100, SESSIONS),
        Case(
            "operations",
            "small body, ids and metrics, over neither",
            1.1,
            _SMALL,
            False,
            100,
            IDS_AND_METRICS,
        ),
        Case(
            "operations-on",
            "small body, all operations but spans, over none",
            1.25,
            _SMALL,
            False,
            100,
            ALL_BUT_SPANS,
        ),
        Case(
            "operations-all",
            "small body, all operations and a span, over none",
            1.25,
            _SMALL,
            False,
            100,
            ALL_OPERATIONS,
        ),
        Case(
            "formatters",
            "small body, formatter pair",
            1.3,
            _SMALL,
            False,
            100,
            FORMATTERS,
        ),
        Case(
            "throttle",
            "small body, formatter pair and throttle",
            2.0,
            _SMALL,
            False,
            100,
            THROTTLE,
        ),
        Case(
            "formatters-stream",
            "200 chunks, formatter pair",
            1.15,
            _STREAM,
            False,
            5,
            FORMATTERS,
        ),
        Case(
            "throttle-stream",
            "200 chunks, formatter pair and throttle",
            1.5,
            _STREAM,
            False,
            5,
            THROTTLE,
        ),
    )
}
