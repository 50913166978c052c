"""``mhcs serve``: arguments as the engine's own parser expects and rejects them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import pytest

from layouts import environment_of
from mhcs.serve import parser_process
from mhcs.serve.variables import is_secret
from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.processes.tree import is_running
from serve_plans import (
    ENGINES,
    SOURCES,
    WITH_PARSER,
    checked_plan,
    command,
    flags,
    hide,
    plan,
    problem_of,
    put_on_path,
    write_package,
)
from servers import Process, run_until_exit
from supervised import MHCS, wait_for

LORA: Final = '{"name": "a", "path": "/a"}'


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a vLLM whose parser can be run."""
    put_on_path(monkeypatch, WITH_PARSER)
    hide(monkeypatch, "tensorrt_llm")


# --- the form of values ------------------------------------------------------------


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MIDDLEWARE", '["a.B"]', ["--middleware", "a.B"]),
        ("MIDDLEWARE", '["a", "b"]', ["--middleware", "a", "--middleware", "b"]),
        ("MIDDLEWARE", "[]", []),
        ("SERVED_MODEL_NAME", '["a b", "c"]', ["--served-model-name", "a b", "c"]),
        ("SERVED_MODEL_NAME", "[]", []),
        ("LORA_MODULES", f"[{LORA}, {LORA}]", ["--lora-modules", LORA, LORA]),
        ("LORA_MODULES", f"{LORA} {LORA}", ["--lora-modules", LORA, LORA]),
        ("ALLOWED_ORIGINS", '["*",  "a"]', ["--allowed-origins", '["*",  "a"]']),
        ("ALLOWED_ORIGINS", '["*"]', ["--allowed-origins", '["*"]']),
        ("ALLOWED_ORIGINS", "[]", ["--allowed-origins", "[]"]),
        ("CHAT_TEMPLATE", '["a"]', ["--chat-template", "a"]),
        ("CHAT_TEMPLATE", '["a", "b"]', ["--chat-template", '["a", "b"]']),
        ("CHAT", '["a"]', ["--chat", "a"]),  # The prefix of a single option.
        ("MAX_MODEL_LEN", "[1]", ["--max-model-len", "1"]),
        ("HF_TOKEN", "", ["--hf-token"]),
        ("HF_TOKEN", "true", ["--hf-token"]),
        ("NO_ENABLE_PREFIX_CACHING", "true", ["--no-enable-prefix-caching"]),
        ("COMPILATION_CONFIG", '{"a": [1]}', ["--compilation-config", '{"a": [1]}']),
    ],
)
def test_option_gets_value_its_parser_accepts(
    name: str, value: str, expected: list[str]
) -> None:
    assert flags(**{name: value}) == expected


@pytest.mark.usefixtures("vllm")
def test_parser_runs_only_if_needed() -> None:
    plain = {"SM_VLLM_MAX_MODEL_LEN": "1", "SM_VLLM_NO_ENABLE_PREFIX_CACHING": "true"}
    assert not plan(**plain).is_checked
    assert checked_plan(**plain).is_checked
    for doubtful in ("SM_VLLM_HF_TOKEN", "SM_VLLM_DTYPE"):
        assert plan(**plain, **{doubtful: ""}).is_checked


# --- rejected values ---------------------------------------------------------------


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "QUANTIZATION",
            " ",
            "SM_VLLM_QUANTIZATION is empty: argument --quantization/-q: expected one "
            "argument. Set a value, or unset the variable.",
        ),
        (
            "QUANTISATION",
            "awq",
            "SM_VLLM_QUANTISATION is set, but vllm has no option --quantisation: did "
            "you mean SM_VLLM_QUANTIZATION?",
        ),
        ("XYZ", "", "SM_VLLM_XYZ is set, but vllm has no option --xyz."),
        ("ENABLE_PREFIX_CACHNG", "false", "mean SM_VLLM_ENABLE_PREFIX_CACHING?"),
        ("ENABLE_PREFIX_CACHNG", "[1]", "did you mean SM_VLLM_ENABLE_PREFIX_CACHING?"),
        ("MAX_MODEL_LEN", '"4"', "the quotes are a part of the value: leave them out"),
        ("MAX_MODEL_LEN", "'4'", "the quotes are a part of the value: leave them out"),
        ("MAX_MODEL_LEN", "[1, 2]", "SM_VLLM_MAX_MODEL_LEN='[1, 2]' is not allowed"),
        ("LORA_MODULES", '["a"]', "Invalid JSON format for --lora-modules: a"),
        ("HELP", "", "it prints something and exits, without starting a server"),
    ],
)
def test_rejected_value_is_reported_by_variable_name(
    name: str, value: str, expected: str
) -> None:
    assert expected in problem_of(plan(**{f"SM_VLLM_{name}": value}))


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize("name", ["COMPILATION_CONFIG", "NO_SUCH_OPTION"])
@pytest.mark.parametrize(
    "value",
    [
        *("'{\"a\": 1}'", '"{\\"a\\": 1}"', '"{"a": 1}"', "'[1]'", '"[\\"a\\"]"'),
        ' "{\\"a\\": 1}" ',
    ],
)
def test_quoted_json_is_rejected_without_parser(name: str, value: str) -> None:
    made = plan(**{f"SM_VLLM_{name}": value})
    assert not made.is_checked
    [found] = made.problems
    assert found.startswith(f"SM_VLLM_{name}=")
    assert found.endswith("the JSON is in quotes: leave them out.")


@pytest.mark.usefixtures("vllm")
def test_all_problems_are_reported() -> None:
    wrong = {"SM_VLLM_QUANTIZATION": "", "SM_VLLM_DTYPO": "x", "SM_VLLM_PORT": "x"}
    made = plan(**wrong)
    assert [found.split()[0].partition("=")[0] for found in made.problems] == [
        "SM_VLLM_DTYPO",
        "SM_VLLM_PORT",
        "SM_VLLM_QUANTIZATION",
    ]


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("name", "value"),
    [("API_KEY", '["s3cret"]'), ("API_KEYY", "s3cret"), ("MY_TOKEN", "'s3cret'")],
)
def test_secrets_are_not_shown(name: str, value: str) -> None:
    found = problem_of(plan(**{f"SM_VLLM_{name}": value}))
    assert name in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("SM_VLLM_API_KEYS", True),
        ("SM_VLLM_APIKEY", True),
        ("SM_VLLM_SSL_KEYFILE_PASSWORD", True),
        ("SM_VLLM_S3_SECRETS", True),
        ("AWS_CREDENTIALS", True),
        ("SM_VLLM_MAX_NUM_BATCHED_TOKENS", False),
        ("SM_VLLM_LONG_PREFILL_TOKEN_THRESHOLD", False),
        ("SM_VLLM_TOKENIZER", False),
        ("SM_VLLM_KEYWORD", False),
    ],
)
def test_secrets_are_recognised_by_name(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


@pytest.mark.usefixtures("vllm")
def test_values_are_checked_on_demand() -> None:
    wrong = {"SM_VLLM_QUANTIZATION": "awk"}
    assert plan(**wrong).problems == []
    found = problem_of(checked_plan(**wrong))
    assert "SM_VLLM_QUANTIZATION='awk' is not allowed" in found
    assert "invalid choice: 'awk'" in found


@pytest.mark.usefixtures("vllm")
def test_combinations_of_options_are_checked_last() -> None:
    tools = {"SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true"}
    assert "requires --tool-call-parser" in problem_of(checked_plan(**tools))
    plans = (
        checked_plan("--tool-call-parser", "x", **tools),
        checked_plan(**tools, SM_VLLM_TOOL_CALL_PARSER="x"),
    )
    assert [made.problems for made in plans] == [[], []]
    assert "unrecognized arguments: --x" in problem_of(checked_plan("--x"))


# --- without the parser ------------------------------------------------------------

HANGS: Final = "import os, sys, time; print('x'); time.sleep(1000)"


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('no device')",
        "import os; os._exit(0)",
        "import os; os.abort()",
        HANGS,
        "FlexibleArgumentParser = None",
    ],
)
def test_general_rules_apply_if_parser_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    write_package(tmp_path, "vllm", "")
    parser = tmp_path / "vllm" / "entrypoints" / "cli" / "serve.py"
    parser.parent.mkdir(parents=True)
    parser.write_text(source)
    put_on_path(monkeypatch, tmp_path)
    hide(monkeypatch, "tensorrt_llm")
    if source == HANGS:
        monkeypatch.setattr(parser_process, "_LIMIT_S", 1.0)
    made = plan(SM_VLLM_XYZ="", SM_VLLM_MIDDLEWARE='["a"]')
    assert (made.is_checked, made.problems) == (False, [])
    assert made.command[-3:] == ["--middleware", '["a"]', "--xyz"]


@pytest.mark.usefixtures("vllm")
def test_another_package_can_replace_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "no option --omni" in problem_of(plan(SM_VLLM_OMNI="true"))
    (tmp_path / "vllm_omni").mkdir()
    (tmp_path / "vllm_omni" / "__init__.py").touch()
    put_on_path(monkeypatch, tmp_path, WITH_PARSER)
    made = plan(SM_VLLM_OMNI="true")
    assert (made.is_checked, made.problems) == (False, [])
    assert made.command[-1] == "--omni"


# --- click -------------------------------------------------------------------------

CLICK: Final = """
import click

@click.command("serve")
@click.argument("model")
@click.option("--host")
@click.option("--port", type=int)
@click.option("--backend", type=click.Choice(["pytorch", "trt"]))
@click.option("--middleware", multiple=True)
@click.option("--module_dirs", nargs=2)
@click.option("--media_io_kwargs")
@click.option("--trust_remote_code", is_flag=True)
def serve(**options):
    raise SystemExit("It is not run.")
"""


@pytest.fixture
def trtllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Install a TensorRT-LLM that parses with click, as the real one does."""
    write_package(tmp_path, "tensorrt_llm", CLICK)
    put_on_path(monkeypatch, tmp_path)
    hide(monkeypatch, "vllm")


@pytest.mark.usefixtures("trtllm")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MIDDLEWARE", '["a", "b"]', ["--middleware", "a", "--middleware", "b"]),
        ("MODULE_DIRS", '["a", "b"]', ["--module_dirs", "a", "b"]),
        ("MEDIA_IO_KWARGS", '["a", "b"]', ["--media_io_kwargs", '["a", "b"]']),
        ("MEDIA_IO_KWARGS", '["a"]', ["--media_io_kwargs", "a"]),
        ("MEDIA_IO_KWARGS", "[]", []),
        ("TRUST_REMOTE_CODE", "", ["--trust_remote_code"]),
    ],
)
def test_click_parser_is_used(name: str, value: str, expected: list[str]) -> None:
    words = command(**{f"SM_TRTLLM_{name}": value})
    assert words[6:] == expected


@pytest.mark.usefixtures("trtllm")
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("BACKEND", "", "SM_TRTLLM_BACKEND is empty: Option '--backend' requires"),
        ("BACKND", "x", "no option --backnd: did you mean SM_TRTLLM_BACKEND?"),
        ("BACKEND", "'trt'", "is not one of 'pytorch', 'trt'"),
        ("HELP", "", "it prints something"),
    ],
)
def test_click_errors_are_reported(name: str, value: str, expected: str) -> None:
    assert expected in problem_of(plan(**{f"SM_TRTLLM_{name}": value}))


def test_every_engine_but_ray_has_a_command() -> None:
    with_command = [each for each in installed_engines() if each.command is not None]
    assert {engine.name for engine in with_command} == {*ENGINES, *SOURCES}
    # Ray starts its servers itself.
    others = {engine.name for engine in installed_engines()} - {*ENGINES, *SOURCES}
    assert others == {"ray"}


# --- real processes ----------------------------------------------------------------


def environment(**env: str) -> dict[str, str]:
    return environment_of("v0_29", {"SM_VLLM_MODEL": "standin", **env})


def test_misspelt_name_is_one_error_before_engine_starts() -> None:
    end = run_until_exit([MHCS, "serve"], environment(SM_VLLM_QUANTISATION="awq"))
    assert end.status == 1
    assert end.stdout == ""
    assert end.stderr.splitlines() == [
        "mhcs serve: SM_VLLM_QUANTISATION is set, but vllm has no option "
        "--quantisation: did you mean SM_VLLM_QUANTIZATION?"
    ]


def test_bad_value_ends_container_at_once() -> None:
    end = run_until_exit([MHCS, "serve"], environment(SM_VLLM_QUANTIZATION="awk"))
    assert end.status == 2
    assert (
        end.stderr.count("invalid choice: 'awk'") == 2
    )  # The engine's error, and ours.
    last = end.stderr.splitlines()[-1]
    assert last.startswith("mhcs serve: SM_VLLM_QUANTIZATION='awk' is not allowed: ")


def test_bad_argument_ends_container_at_once() -> None:
    end = run_until_exit([MHCS, "serve", "--nonsense"], environment())
    assert end.status == 2
    assert "unrecognized arguments: --nonsense" in end.stderr.splitlines()[-1]


def test_dry_run_prints_rejected_command() -> None:
    end = run_until_exit([MHCS, "serve", "--dry-run"], environment(SM_VLLM_XYZ="x"))
    assert end.status == 1
    assert end.stdout.endswith("--xyz x\n")
    assert "vllm has no option --xyz" in end.stderr


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_sigterm_is_handled_while_parser_runs(tmp_path: Path, command: str) -> None:
    write_package(tmp_path, "vllm", "")
    parser = tmp_path / "vllm" / "entrypoints" / "cli" / "serve.py"
    parser.parent.mkdir(parents=True)
    note = (
        f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(f'{{os.getpid()}} ')\n"
    )
    parser.write_text(note + HANGS)
    env = environment(SM_VLLM_XYZ="", PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))
    process = Process([MHCS, command], env)
    try:
        process.start()
        pid = int(wait_for(tmp_path / "pid"))
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert not is_running(pid)
        assert not [*tmp_path.glob("mhcs-*")]
    finally:
        process.close()
