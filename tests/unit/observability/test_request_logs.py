"""Request ids in log lines, as text and as JSON."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import pytest
from fastapi import FastAPI, Request

import model_hosting_container_standards.sagemaker as sagemaker
from customised import client_with
from model_hosting_container_standards import logging_config
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.logging_config import (
    configure_logging,
    enable_debug_logging,
    get_logger,
    logger,
)
from model_hosting_container_standards.request_id import REQUEST_ID

HEADERS = {"X-Request-Id": "id-1"}


@pytest.fixture
def request_id() -> Iterator[str]:
    """Run a test inside a request whose id looks like a format argument."""
    token = REQUEST_ID.set("50%s")
    yield "50%s"
    REQUEST_ID.reset(token)


def json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


# --- text -----------------------------------------------------------------------------


MESSAGES: Final = [
    ("a line", (), "a line"),
    ("100 %", (), "100 %"),
    ("%s of %d", ("one", 2), "one of 2"),
    ("%(name)s", ({"name": "one"},), "one"),
    (KeyError("no text"), (), "'no text'"),
]
LOGGERS: Final = [logger.name, "mhcs", f"{logger.name}.sagemaker"]


@pytest.mark.parametrize(("message", "arguments", "line"), MESSAGES)
@pytest.mark.parametrize("name", LOGGERS)
def test_records_have_the_id_and_keep_their_message(
    name: str,
    request_id: str,
    caplog: pytest.LogCaptureFixture,
    message: Any,
    arguments: tuple[Any, ...],
    line: str,
) -> None:
    """Error trackers group records by the message and its arguments."""
    configure_logging(logging.INFO)
    get_logger(name).info(message, *arguments)
    [record] = caplog.records
    assert (record.msg, record.getMessage()) == (message, line)
    assert vars(record)["request_id"] == request_id


@pytest.mark.parametrize(("message", "arguments", "line"), MESSAGES)
@pytest.mark.parametrize("name", LOGGERS)
def test_our_lines_end_with_the_id(
    name: str,
    request_id: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    message: Any,
    arguments: tuple[Any, ...],
    line: str,
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(logging.INFO)
    get_logger(name).info(message, *arguments)
    assert capsys.readouterr().err.endswith(f" {line} [{request_id}]\n")


def test_lines_outside_requests_are_unchanged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure_logging(logging.INFO)
    get_logger("mhcs").info("%d %%", 100)
    assert caplog.messages == ["100 %"]


def test_lines_of_other_loggers_are_unchanged(
    request_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure_logging(logging.INFO)
    logging.getLogger("vllm").warning("a line")
    assert caplog.messages == ["a line"]


def test_our_handler_prints_the_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    async def fails(request: Any, call_next: Any) -> None:
        raise RuntimeError("broken")

    client_with(throttle=fails).get("/ping", headers=HEADERS)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.endswith("A middleware failed on GET /ping [id-1]")


# --- JSON -----------------------------------------------------------------------------


@pytest.mark.parametrize("root_handlers", ["none", "existing"])
def test_each_line_is_one_object_and_printed_once(
    root_handlers: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    request_id: str,
) -> None:
    if root_handlers == "none":
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(logging.INFO, "json")
    configure_logging(logging.INFO, "json")
    get_logger("mhcs").info("%s\nof %d", "lines", 2)
    [line] = json_lines(capsys)
    moment = datetime.fromisoformat(line.pop("time"))
    assert moment.tzinfo is not None
    assert line == {
        "level": "INFO",
        "logger": f"{logger.name}.mhcs",
        "message": "lines\nof 2",
        "request_id": request_id,
    }
    assert caplog.messages == []


def test_exceptions_are_part_of_their_json_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(logging.INFO, "json")
    try:
        raise KeyError("broken\udcff")
    except KeyError:
        get_logger("mhcs").exception("it failed: \udcff")
    [line] = json_lines(capsys)
    assert line["message"] == r"it failed: \udcff"
    assert line["exception"].startswith("Traceback")
    assert "KeyError: 'broken\\udcff'" in line["exception"]
    assert "request_id" not in line


def test_json_replaces_our_text_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(logging.INFO)
    configure_logging(logging.INFO, "json")
    enable_debug_logging()
    get_logger("mhcs").debug("a line")
    [line] = json_lines(capsys)
    assert line["message"] == "a line"


def test_other_handlers_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    existing = logging.StreamHandler()
    logger.addHandler(existing)
    configure_logging(logging.INFO, "json")
    assert existing in logger.handlers


def test_json_logging_can_be_undone(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    configure_logging(logging.INFO, "json")
    logging_config.reset_logging()
    assert logger.propagate
    assert logger.handlers == []
    get_logger("mhcs").error("a line")
    assert caplog.messages == ["a line"]


@pytest.mark.parametrize("form", ["json", "JSON"])
def test_log_format_is_set_by_variable(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MHCS_LOG_FORMAT", form)
    monkeypatch.setenv("LOG_LEVEL", "INFO")

    async def handler(request: Request) -> str:
        get_logger("mhcs").info("a line")
        return ""

    client_with(handler).post("/invocations", headers=HEADERS)
    lines = json_lines(capsys)
    assert "is answered by" in lines[0]["message"]
    assert lines[-1]["request_id"] == "id-1"


def test_unknown_log_format_stops_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_LOG_FORMAT", "xml")
    with pytest.raises(ConfigurationError, match="use text or json"):
        sagemaker.bootstrap(FastAPI())


def test_bodies_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MHCS_LOG_FORMAT", "json")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("MHCS_API_KEY", "the-key")
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "40")
    client = client_with()
    headers = {"Authorization": "Bearer the-key"}
    for text in ("my prompt", "my prompt" * 9):
        client.post("/invocations", json={"prompt": text}, headers=headers)
        client.post("/invocations", json={"prompt": text})
    logged = capsys.readouterr().err
    assert logged
    assert not re.search("my prompt|the-key", logged)


def test_disabled_features_are_not_imported() -> None:
    code = """
import sys
from fastapi import FastAPI
before = set(sys.modules)
from model_hosting_container_standards import sagemaker
sagemaker.bootstrap(FastAPI())
names = {name.rpartition(".")[2] for name in set(sys.modules) - before}
assert "request_tracker" in names
assert not names & {"json_log_format", "api_key", "body_limit", "opentelemetry"}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
