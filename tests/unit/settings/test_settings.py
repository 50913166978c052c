from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from mhcs import _startup
from model_hosting_container_standards.common.fastapi import ENV_CONFIG, EnvVars
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.sagemaker import (
    SAGEMAKER_ENV_CONFIG,
    SageMakerEnvVars,
)
from model_hosting_container_standards.settings import (
    Settings,
    Variable,
    read_settings,
    variables,
)


def test_defaults_match_contract() -> None:
    settings = read_settings({})
    assert settings.model_path == Path("/opt/ml/model")
    assert settings.script_filename == "model.py"
    code = Path("/opt/ml/model/code")
    assert settings.code_folders == (Path("/opt/ml/model"), code)
    assert settings.ping_handler is None
    assert settings.invocation_handler is None
    assert settings.sessions_enabled is False
    assert settings.log_level == logging.ERROR
    assert settings.auto is None
    assert settings.disabled_engines == frozenset()
    assert settings.auto_install is True
    assert settings.pip_arguments == ()
    assert settings.strict is False


@pytest.mark.parametrize("variable", variables(), ids=lambda variable: variable.name)
@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_empty_value_counts_as_unset(variable: Variable[Any], empty: str) -> None:
    assert variable.read(read_settings({variable.name: empty})) == variable.default


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((word, True) for word in ("1", "true", "YES", "On", " true\n")),
        *((word, False) for word in ("0", "False", "no", "OFF")),
    ],
)
def test_boolean_words_are_case_insensitive(word: str, expected: bool) -> None:
    assert read_settings({"MHCS_STRICT": word}).strict is expected


@pytest.mark.parametrize(
    ("value", "level"),
    [("debug", 10), ("INFO", 20), ("Warning", 30), ("warn", 30), ("7", 7)],
)
def test_log_level_is_a_case_insensitive_name_or_a_number(
    value: str, level: int
) -> None:
    assert read_settings({"SAGEMAKER_CONTAINER_LOG_LEVEL": value}).log_level == level


def test_container_log_level_takes_precedence() -> None:
    environ = {"LOG_LEVEL": "DEBUG"}
    assert read_settings(environ).log_level == logging.DEBUG
    environ["SAGEMAKER_CONTAINER_LOG_LEVEL"] = "INFO"
    assert read_settings(environ).log_level == logging.INFO


@pytest.mark.parametrize(
    ("name", "value", "attribute"),
    [
        ("MHCS_STRICT", "maybe", "strict"),
        ("MHCS_AUTO", "2", "auto"),
        ("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "ja", "sessions_enabled"),
        ("SAGEMAKER_SESSIONS_EXPIRATION", "0", "sessions_expiration"),
        ("SAGEMAKER_SESSIONS_EXPIRATION", "-1", "sessions_expiration"),
        ("SAGEMAKER_SESSIONS_EXPIRATION", "1.5", "sessions_expiration"),
        ("SAGEMAKER_SESSIONS_EXPIRATION", "315360001", "sessions_expiration"),
        ("MHCS_THROTTLE_MAX_IN_FLIGHT", "0", "throttle_in_flight"),
        ("MHCS_THROTTLE_MAX_IN_FLIGHT", "many", "throttle_in_flight"),
        ("MHCS_THROTTLE_MAX_PER_SECOND", "0", "throttle_per_second"),
        ("MHCS_THROTTLE_MAX_PER_SECOND", "nan", "throttle_per_second"),
        ("MHCS_THROTTLE_MAX_PER_SECOND", "inf", "throttle_per_second"),
        ("MHCS_LOG_FORMAT", "xml", "log_format"),
        ("MHCS_MAX_BODY_BYTES", "0", "max_body_bytes"),
        ("MHCS_MAX_BODY_BYTES", "1MB", "max_body_bytes"),
        ("MHCS_GUARD", "please", "guard"),
        ("MHCS_RESTARTS", "-1", "restarts"),
        ("PROMETHEUS_MULTIPROC_DIR", "/no/such/folder", "metrics_folder"),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "LOUD", "log_level"),
        ("LOG_LEVEL", "-1", "log_level"),
    ],
)
def test_invalid_value_is_an_error_with_its_variable(
    name: str, value: str, attribute: str
) -> None:
    settings = read_settings({name: value})
    with pytest.raises(ConfigurationError, match="is not allowed: use ") as raised:
        getattr(settings, attribute)
    assert raised.value.name == name
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize(
    ("value", "engine", "disabled"),
    [
        ("vllm", "vllm", True),
        ("tensorrt_llm, VLLM", "vllm", True),
        ("*", "vllm", True),
        ("tensorrt_llm", "vllm", False),
        ("TensorRT-LLM", "tensorrt_llm", True),
        ("", "vllm", False),
    ],
)
def test_engines_are_disabled_by_name_or_wildcard(
    value: str, engine: str, disabled: bool
) -> None:
    assert read_settings({"MHCS_DISABLE": value}).disables(engine) is disabled


def test_pip_arguments_are_split_as_a_shell_does() -> None:
    settings = read_settings({"STANDARD_PIP_ARGS": "-i 'a b' --x=\\'1  # no comment"})
    assert settings.pip_arguments == ("-i", "a b", "--x='1", "#", "no", "comment")


def test_settings_are_frozen() -> None:
    settings = read_settings({})
    with pytest.raises(AttributeError, match="frozen"):
        settings.strict = True


@pytest.mark.parametrize("value", ["none", "None", "NONE", "/dev/null"])
def test_script_can_be_disabled(value: str) -> None:
    assert read_settings({"CUSTOM_SCRIPT_FILENAME": value}).script_filename is None


def test_startup_lists_every_customising_variable() -> None:
    customising = {
        name
        for name in (variable.name for variable in variables())
        if name.startswith("CUSTOM_")
    }
    customising |= {
        Settings.model_path.name,
        Settings.sessions_enabled.name,
    }
    assert set(_startup.CUSTOMISING_VARIABLES) == customising


@pytest.mark.parametrize(
    ("names", "table"),
    [(EnvVars, ENV_CONFIG), (SageMakerEnvVars, SAGEMAKER_ENV_CONFIG)],
)
def test_variable_names_match_their_tables(
    names: type, table: dict[str, Variable[Any]]
) -> None:
    public = {key: value for key, value in vars(names).items() if key.isupper()}
    assert {*public} == {*public.values()} == {*table}
