"""``mhcs doctor``: the plan of ``mhcs serve``, and its problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from doctor_command import doctor_says
from serve_plans import ENGINES, WITH_PARSER, hide, put_on_path, write_package

MODEL = "HF_MODEL_ID"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a vLLM that has a parser, and enable patching."""
    put_on_path(monkeypatch, WITH_PARSER)
    hide(monkeypatch, "tensorrt_llm")
    monkeypatch.setenv("MHCS_AUTO", "1")


def examine(monkeypatch: pytest.MonkeyPatch, **environ: str) -> dict[str, Any]:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    report: dict[str, Any] = json.loads(doctor_says("--json")[1])
    return report


@pytest.mark.usefixtures("vllm")
def test_served_model_and_its_source_are_shown(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    report = examine(monkeypatch)
    assert report["problems"] == []
    [why] = report["serving"]
    assert why.startswith(f"No model was found: {model_folder} is empty.")
    report = examine(monkeypatch, HF_MODEL_ID="org/x")
    assert report["problems"] == []
    reason = f"HF_MODEL_ID, as {model_folder} is empty"
    assert report["serving"] == [f"vllm: org/x ({reason})"]
    assert report["variables"][MODEL] == "org/x"
    report = examine(monkeypatch, SM_VLLM_MODEL="local")
    assert report["serving"] == ["vllm: local (SM_VLLM_MODEL)"]
    assert "mhcs serve:\n  vllm: local (SM_VLLM_MODEL)\n" in doctor_says()[1]


@pytest.mark.usefixtures("vllm")
def test_missing_model_is_reported_if_there_are_arguments(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    (model_folder / "inner").mkdir()
    (model_folder / "inner" / "config.json").touch()
    [problem] = examine(monkeypatch, SM_VLLM_SEED="")["problems"][:1]
    assert f"set SM_VLLM_MODEL={model_folder / 'inner'}" in problem


@pytest.mark.usefixtures("vllm")
def test_all_problems_of_engine_variables_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = examine(
        monkeypatch,
        HF_MODEL_ID="org/x",
        SM_VLLM_DTYPO="auto",
        SM_VLLM_QUANTIZATION="awk",
        SM_VLLM_MAX_MODEL_LEN="",
        SM_VLLM_PORT="tcp://10.0.0.9:8000",
        SM_TRTLLM_BACKEND="pytorch",
    )
    expected = [
        "SM_TRTLLM_BACKEND: not used, as tensorrt_llm is not installed.",
        "SM_VLLM_DTYPO is set, but vllm has no option --dtypo: did you mean",
        "SM_VLLM_MAX_MODEL_LEN is empty: ",
        "SM_VLLM_QUANTIZATION='awk' is not allowed: ",
    ]
    for problem, beginning in zip(report["problems"], expected, strict=True):
        assert problem.startswith(beginning)
    link = "SM_VLLM_PORT: ignored, as service links of Kubernetes."
    assert link in report["serving"]
    assert report["variables"]["SM_VLLM_QUANTIZATION"] == "awk"


@pytest.mark.usefixtures("vllm")
@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("SM_VLLM_", "1", "SM_VLLM_='1' is not allowed"),
        ("SM_VLLM_CONFIG", "/no.yaml", "SM_VLLM_CONFIG='/no.yaml' is not allowed"),
        ("SAGEMAKER_BIND_TO_PORT", "x", "SAGEMAKER_BIND_TO_PORT='x' is not allowed"),
        ("AIP_PREDICT_ROUTE", "x", "AIP_PREDICT_ROUTE='x' is not allowed"),
    ],
)
def test_each_problem_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    [found] = examine(monkeypatch, HF_MODEL_ID="org/x", **{name: value})["problems"]
    assert found.startswith(problem)


@pytest.mark.usefixtures("vllm")
def test_no_secrets_of_engine_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "HF_TOKEN", "API_KEYY", "PASSWORT"):
        monkeypatch.setenv(f"SM_VLLM_{name}", "s3cret")
    for arguments in ((), ("--json",)):
        output = doctor_says(*arguments)[1]
        assert "SM_VLLM_API_KEY" in output
        assert "s3cret" not in output


@pytest.mark.usefixtures("vllm")
def test_unreadable_folder_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = "/" + 300 * "x"
    report = examine(monkeypatch, SAGEMAKER_MODEL_PATH=folder)
    assert report["problems"] == [
        f"SAGEMAKER_MODEL_PATH={folder} is not a folder: mount it, or unset "
        "SAGEMAKER_MODEL_PATH.",
        f"{folder}/model.py cannot be read: File name too long.",
    ]
    assert "cannot be read" in report["script"]
    assert "cannot be read" in report["requirements"]
    assert report["serving"] == [f"{folder} cannot be read: File name too long."]


def test_several_engines_require_a_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ENGINES:
        write_package(tmp_path / "site", name, "")
    put_on_path(monkeypatch, tmp_path / "site")
    report = examine(monkeypatch, MHCS_AUTO="1")
    assert report["problems"] == []
    [why] = report["serving"]
    assert why.startswith("More than one engine is installed here")
