"""No server can crash or hang ``mhcs check``: each fault is described."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from typing import Any, Final

import pytest

from check_command import run_check
from raw_server import Respond, answer, raw_server, read_path, wait_for_hang_up
from servers import HOST, free_port

#: Seconds. Checks of requests that hang take it whole.
QUICK: Final = ("--timeout=0.3", "--total-timeout=20")
EVENTS: Final = "Content-Type: text/event-stream"
OK: Final = b"HTTP/1.1 200 OK\r\n"


def hang(connection: socket.socket, path: str) -> None:
    wait_for_hang_up(connection)


def close(connection: socket.socket, path: str) -> None:
    """Send nothing."""


def send(*parts: bytes) -> Respond:
    def respond(connection: socket.socket, path: str) -> None:
        for part in parts:
            connection.sendall(part)

    return respond


def send_without_end(head: bytes, part: bytes, pause: float = 0.0) -> Respond:
    def respond(connection: socket.socket, path: str) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(part)
            time.sleep(pause)

    return respond


def redirect(connection: socket.socket, path: str) -> None:
    answer(connection, b"", f"Location: {path}", status=307)


#: What answers /ping, and what is found.
PINGS: Final[dict[str, tuple[Respond, str]]] = {
    "hangs": (hang, "no end within 0.3 s"),
    "closes": (close, "the connection was closed at once"),
    "garbage": (send(b"\x00\xff\x1b[2J garbage\r\n\r\n"), "that is not HTTP"),
    "another protocol": (send(b"SSH-2.0-OpenSSH_9.2\r\n"), "that is not HTTP"),
    "head cut": (send(OK, b"Content-Le"), "the connection was closed"),
    "endless head": (send_without_end(OK, b"X-A: 1\r\n"), "more than 100 headers"),
    "long line": (send_without_end(OK, b"a" * 65536), "that is not HTTP"),
    "slow head": (send_without_end(OK, b"X", 0.05), "no end within 0.3 s"),
    "slow body": (send_without_end(OK + b"\r\n", b" ", 0.05), "no end within 0.3 s"),
    "endless 1xx": (
        send_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "no end within 0.3 s",
    ),
    "body cut": (
        send(OK, b"Content-Length: 10\r\n\r\n123"),
        "200 OK, but the connection was closed 7 bytes too early",
    ),
    "chunk cut": (
        send(OK, b"Transfer-Encoding: chunked\r\n\r\nff\r\n123"),
        "200 OK, but the connection was closed in the middle",
    ),
    "wrong chunk": (
        send(OK, b"Transfer-Encoding: chunked\r\n\r\nno\r\n123"),
        "200 OK, but",
    ),
    "wrong length": (send(OK, b"Content-Length: many\r\n\r\n"), "200 in"),
    "redirect": (redirect, "307 Temporary Redirect, not 200"),
    "unknown status": (send(b"HTTP/1.1 299 Fine\r\n\r\n"), "299, not 200"),
    "no number": (send(b"HTTP/1.1 two OK\r\n\r\n"), "that is not HTTP"),
}


@pytest.mark.parametrize("name", PINGS)
def test_ping_of_unruly_server_is_described(name: str) -> None:
    respond, finding = PINGS[name]
    with raw_server(respond) as url:
        checked = run_check(url, *QUICK, "--only=ping-answers")
    assert finding in checked.results["ping-answers"]["finding"]
    assert checked.status == (0 if "200 in" in finding else 1)


@pytest.mark.parametrize("name", ["hangs", "closes", "garbage", "slow head"])
def test_server_without_ping_is_not_asked_further(name: str) -> None:
    with raw_server(PINGS[name][0]) as url:
        checked = run_check(url, *QUICK)
    assert checked.status == 1
    assert checked.named("fail") == ["ping-answers"]
    assert not checked.named("pass")


def test_missing_server_is_named() -> None:
    checked = run_check(f"{HOST}:{free_port()}", *QUICK)
    assert checked.named("fail") == ["ping-answers"]
    assert "Connection refused" in checked.results["ping-answers"]["finding"]


def test_first_check_fails_if_there_is_no_server() -> None:
    checked = run_check(f"{HOST}:{free_port()}", *QUICK, "--only=drain", "--only=keys")
    assert checked.status == 1
    assert checked.named("fail") == ["keys-ping"]


def test_unknown_host_is_named() -> None:
    checked = run_check("http://mhcs-check.invalid", *QUICK)
    assert "no connection" in checked.results["ping-answers"]["finding"]


def test_server_without_tls_is_named() -> None:
    with raw_server(send(b"HTTP/1.1 400 No TLS\r\n\r\n")) as url:
        checked = run_check(url.replace("http:", "https:"), *QUICK)
    assert checked.named("fail") == ["ping-answers"]


def test_slow_handshake_ends_at_the_timeout() -> None:
    # A record of 16 KiB, of which a byte comes now and then.
    listening = socket.create_server((HOST, 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while True:
                connection.sendall(b"\x02")
                time.sleep(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    with listening:
        url = f"https://{HOST}:{listening.getsockname()[1]}"
        checked = run_check(url, *QUICK, "--only=ping-answers")
    thread.join()
    assert checked.named("fail") == ["ping-answers"]


def after_ping(respond: Respond) -> Respond:
    """Answer /ping and nothing else properly."""

    def responding(connection: socket.socket, path: str) -> None:
        if path == "/ping":
            answer(connection, b"")
        else:
            respond(connection, path)

    return responding


def json_answer(document: str) -> Respond:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, document.encode(), "Content-Type: application/json")

    return respond


def events(*data: bytes) -> Respond:
    body = b"".join(b"data: %s\n\n" % event for event in data)

    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, body, EVENTS)

    return respond


STREAM: Final = OK + EVENTS.encode() + b"\r\n\r\n"
#: Servers that have a /ping, and nothing else that is right.
UNRULY: Final[dict[str, Respond]] = {
    **{name: respond for name, (respond, _) in PINGS.items()},
    "endless stream": send_without_end(STREAM, b"data: {}\n\n" * 1000),
    "slow stream": send_without_end(STREAM, b"data: {}\n\n", 0.05),
    "no events": events(),
    "events of rubbish": events(b"\xff", b"{", b"null", b"[DONE]", b"[" * 9999),
    **{
        f"JSON {number}": json_answer(document)
        for number, document in enumerate(
            [
                *("null", "1", '"text"', "[]", "{}", "[" * 99_999, "1" * 9_999, "{"),
                '{"data": 1, "adapters": 1, "model": 1, "choices": 1, "error": 1}',
                '{"data": [1], "adapters": [1], "next_page_token": 1, "choices": [1]}',
                '{"data": [{"id": "\\ud800"}], "adapters": [{"name": "\\ud800"}], '
                '"next_page_token": "\\ud800", "model": "\\ud800", "name": []}',
                '{"MaxConcurrentTransforms": "\\u0000", "MaxPayloadInMB": NaN}',
            ]
        )
    },
}


@pytest.mark.parametrize("name", UNRULY)
def test_unruly_server_is_checked_to_the_end(name: str, tmp_path: Any) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").touch()
    allowed = (f"--adapters={tmp_path}", "--api-key=key", "--expect=text")
    files = [tmp_path / f"report.{suffix}" for suffix in ("html", "xml", "txt")]
    outputs = [f"--output={file}" for file in files]
    limits = ("--timeout=0.2", "--total-timeout=1", "--skip=ping-honest")
    started = time.monotonic()
    with raw_server(after_ping(UNRULY[name])) as url:
        checked = run_check(url, *limits, *allowed, *outputs)
    assert time.monotonic() - started < 60
    assert checked.status == 1
    assert "ping-answers" in checked.named("pass")
    assert all(result["finding"] for result in checked.results.values())
    assert all(file.read_text() for file in files)


def test_hung_engine_is_found() -> None:
    with raw_server(after_ping(hang)) as url:
        checked = run_check(url, *QUICK)
    finding = checked.results["ping-honest"]["finding"]
    assert "no end within 0.3 s" in finding
    assert "/ping is still a 200" in finding
    assert checked.named("fail")[:2] == ["invocations-answers", "ping-honest"]


def test_engine_whose_ping_fails_in_time_is_honest() -> None:
    pings = itertools.count()

    def respond(connection: socket.socket, path: str) -> None:
        if path != "/ping":
            wait_for_hang_up(connection)
        answer(connection, b"", status=200 if next(pings) < 2 else 503)

    with raw_server(respond) as url:
        checked = run_check(url, *QUICK, "--only=ping-honest")
    assert checked.named("pass") == ["ping-honest"]


def test_total_timeout_ends_all_checks() -> None:
    with raw_server(after_ping(hang)) as url:
        checked = run_check(url, "--timeout=60", "--total-timeout=1")
    assert checked.document["seconds"] < 30
    findings = [result["finding"] for result in checked.results.values()]
    assert any("--total-timeout" in finding for finding in findings)


def test_large_answer_is_not_read_to_its_end() -> None:
    respond = send_without_end(OK + b"\r\n", b"a" * 1_000_000)
    with raw_server(respond) as url:
        checked = run_check(url, "--only=ping-answers")
    assert "is longer than 16777216 bytes" in checked.results["ping-answers"]["finding"]


def test_answer_before_the_whole_body_is_taken() -> None:
    def respond(connection: socket.socket, path: str) -> None:
        # Closing with unread data resets the connection.
        answer(connection, b"too large", status=413)
        wait_for_hang_up(connection)

    def responding(connection: socket.socket, path: str) -> None:
        small = b'{"prompt": "hello"}'
        if path == "/invocations":
            answer(connection, small, "Content-Type: application/json")
        else:
            after_ping(respond)(connection, path)

    with raw_server(responding) as url:
        checked = run_check(url, "--only=errors-large", *QUICK)
    assert checked.named("pass") == ["errors-large"]


@pytest.mark.parametrize(("payload", "status"), [(6, 0), (0, 0), (-1, 1)])
def test_advised_payload_may_be_without_a_limit(payload: int, status: int) -> None:
    advice = {
        "MaxConcurrentTransforms": 1,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": payload,
    }
    with raw_server(after_ping(json_answer(json.dumps(advice)))) as url:
        checked = run_check(url, "--only=batch-parameters", *QUICK)
    assert checked.status == status


def test_terminal_codes_and_keys_of_answers_are_not_shown() -> None:
    def respond(connection: socket.socket, path: str) -> None:
        body = b"\x1b[2J \xff the-secret the-secret"
        answer(connection, body, "X-Echo: \x1b[2J the-secret", status=500)

    with raw_server(respond) as url:
        checked = run_check(url, "--api-key=the-secret", "--only=ping")
    text = json.dumps(checked.document)
    assert "the-secret" not in text
    assert "\\u001b" not in text
    assert "\\\\x1b[2J" in text


def test_server_that_ends_in_between_is_found_once() -> None:
    listening = socket.create_server((HOST, 0))

    def serve() -> None:
        """Answer the first two requests, and end in the third."""
        for _ in range(3):
            connection, _ = listening.accept()
            with connection:
                path = read_path(connection)
                if path == "/ping":
                    answer(connection, b"")
        listening.close()

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    skipped = ("--skip=ping-times", "--skip=ping-load", "--skip=ping-honest")
    checked = run_check(url, *QUICK, *skipped, "--skip=ping-methods")
    thread.join()
    failed = checked.named("fail")
    assert failed == ["invocations-answers", "models-list", "models-openai"]
    finding = checked.results["adapters-list"]["finding"]
    assert finding == "the server has gone: see models-openai"
