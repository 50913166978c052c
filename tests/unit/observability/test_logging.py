from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.sagemaker as sagemaker
from model_hosting_container_standards import logging_config
from model_hosting_container_standards.logging_config import (
    configure_logging,
    enable_debug_logging,
    get_logger,
    logger,
)


def test_all_loggers_are_children_of_ours() -> None:
    assert get_logger("mhcs").parent is logger
    assert get_logger(logger.name) is logger
    inside = f"{logger.name}.common"
    assert get_logger(inside).name == inside


def test_debug_level_logs_everything() -> None:
    enable_debug_logging()
    assert get_logger("anything").isEnabledFor(logging.DEBUG)


def test_existing_handlers_print_our_lines(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert logging.getLogger().handlers, "pytest has its own"
    configure_logging(logging.INFO)
    get_logger("mhcs").info("one line")
    assert caplog.text.count("one line") == 1
    assert capsys.readouterr().err == ""


def test_lines_go_to_stderr_once_without_handlers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(logging.INFO)
    configure_logging(logging.INFO)
    get_logger("mhcs").info("one line")
    assert capsys.readouterr().err.count("one line") == 1
    logging_config.reset_logging()
    assert logger.handlers == []
    assert logger.level == logging.NOTSET


def test_lines_are_printed_once_if_logging_is_set_up_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(logging.INFO)
    logging.basicConfig(level=logging.INFO)
    get_logger("mhcs").info("one line")
    assert capsys.readouterr().err.count("one line") == 1


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_other_loggers_are_unchanged(
    monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    vllm = logging.getLogger("vllm")
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    monkeypatch.setattr(vllm, "handlers", [handler])
    root = logging.getLogger()
    before = [(x, x.level, list(x.handlers)) for x in (root, vllm)]
    monkeypatch.setenv("SAGEMAKER_CONTAINER_LOG_LEVEL", level)
    sagemaker.bootstrap(FastAPI())
    assert [(x, x.level, list(x.handlers)) for x in (root, vllm)] == before
    assert handler.level == logging.WARNING


def test_importing_has_no_side_effect() -> None:
    code = """
import logging, os, sys, threading
class Spy(dict):
    def __getattribute__(self, name):
        raise AssertionError(f"os.environ.{name} was read")
environ, before = os.environ, set(sys.modules)
import fastapi, wrapt
os.environ = Spy()
import model_hosting_container_standards.sagemaker
import model_hosting_container_standards.testing
os.environ = environ
assert logging.getLogger().handlers == []
assert logging.getLogger("model_hosting_container_standards").handlers == []
assert threading.active_count() == 1
assert not {"vllm", "tensorrt_llm", "mhcs.auto", "jmespath"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
