"""README.md and docs/ agree with the code."""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any, Final

import prometheus_client
import pytest
import typer
import yaml
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

import documentation
from documentation import DOCS, PAGES, ROOT, Block, Command, blocks
from mhcs.cli import app as mhcs_app
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.settings import variables
from model_hosting_container_standards.supervisor.generate import make_parser
from servers import Server, run_until_exit

PACKAGES: Final = ("mhcs", "model_hosting_container_standards")
ENGINES: Final = ("vllm", "tensorrt_llm", "sglang", "ray")
TITLE: Final = 'title="model.py"'


def of_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


def of_block(block: Block) -> str:
    return block.id


def of_command(command: Command) -> str:
    return command.id


# --- Python ------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("python"), ids=of_block)
def test_python_blocks_compile_and_their_imports_exist(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and is_ours(node.module or ""):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if is_ours(alias.name):
                    importlib.import_module(alias.name)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def scripts() -> list[Block]:
    """Return the model.py of pages that need no engine."""
    return [
        block
        for block in blocks("python")
        if TITLE in block.options
        and not any(f"from {engine}." in block.text for engine in ENGINES)
    ]


@pytest.mark.parametrize("block", scripts(), ids=of_block)
def test_script_is_served(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(block, tmp_path, monkeypatch)
    assert client.get("/ping").status_code == 200
    assert client.post("/invocations", json={"prompt": "hello"}).status_code == 200


def serve(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Serve a script in front of an engine whose completion is the request's body."""
    (folder / "model.py").write_text(block.text)
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(folder))
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> None: ...

    @app.post("/invocations")
    async def invocations(request: Request) -> dict[str, Any]:
        choices = [{"text": json.dumps(await request.json(), sort_keys=True)}]
        return {"object": "text_completion", "choices": choices}

    return TestClient(sagemaker.bootstrap(app))


def script_of(page: str) -> Block:
    [block] = [block for block in scripts() if of_page(block.page) == page]
    return block


def test_adapter_is_written_into_field_named_by_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = script_of("docs/how-to/adapters.md")
    client = serve(script, tmp_path, monkeypatch)
    headers = {"X-Amzn-SageMaker-Adapter-Identifier": "fr"}
    answer = client.post("/invocations", json={"a": 1}, headers=headers)
    assert answer.json() == {"a": 1, "options": {"adapter": "fr"}}


def test_custom_server_works(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "own-server.md"
    server, *registrations = documentation.blocks_of(page)
    path = tmp_path / "server.py"
    path.write_text(server.text)
    client = TestClient(runpy.run_path(str(path))["app"])
    assert client.get("/ping").json() == "up"
    for block in registrations:
        if block.language == "python":
            path.write_text(block.text)
            runpy.run_path(str(path))


def test_client_of_bidirectional_stream_is_answered(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "bidirectional-streaming.md"
    script, client = [
        b for b in documentation.blocks_of(page) if b.language == "python"
    ]
    (tmp_path / "model.py").write_text(script.text)
    command = [sys.executable, "-m", "uvicorn", "server:app"]
    env = {"SAGEMAKER_MODEL_PATH": str(tmp_path)}
    folder = ROOT / "examples" / "fastapi_server"
    with Server(command, env, folder, "/ping") as server:
        address = f"127.0.0.1:{server.port}"
        code = client.text.replace("localhost:8080", address)
        assert code != client.text
        end = run_until_exit([sys.executable, "-c", code], {"NO_PROXY": "*"})
        assert end.stdout == "HELLO\n", end.stderr


# --- commands ----------------------------------------------------------------------

#: Other programs' commands, which are not checked.
OTHERS: Final = {
    "",  # only variables
    *("curl", "docker", "gcloud", "head", "kubectl", "pip", "promtool", "pytest"),
    *("ray", "serve", "sglang", "trtllm-serve", "uvicorn", "vllm"),
}
COMMANDS: Final = documentation.commands()
MAKEFILE: Final = (ROOT / "Makefile").read_text()


def named(*names: str) -> list[Command]:
    return [command for command in COMMANDS if name_of(command) in names]


def name_of(command: Command) -> str:
    return Path(command.words[0]).name if command.words else ""


def test_every_command_is_known() -> None:
    ours = {"generate-supervisor-config", "make", "mhcs", "python"}
    known = {*OTHERS, *ours, "standard-supervisor"}
    unknown = [command.id for command in COMMANDS if name_of(command) not in known]
    assert not unknown


@pytest.mark.parametrize("command", named("make"), ids=of_command)
def test_make_target_exists(command: Command) -> None:
    check_make(command.words[1:])


def check_make(words: list[str]) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        pattern = rf"^{name} \?=" if is_variable else rf"^{re.escape(name)}:.*##"
        assert re.search(pattern, MAKEFILE, re.MULTILINE), word


@pytest.mark.parametrize("command", named("mhcs"), ids=of_command)
def test_mhcs_command_and_options_exist(command: Command) -> None:
    check_mhcs(command.words[1:])


def check_mhcs(words: list[str]) -> None:
    """Check a command, and the options before its first argument."""
    group: Any = typer.main.get_command(mhcs_app)
    name, *arguments = words
    assert name in group.commands
    options = {
        option for parameter in group.commands[name].params for option in parameter.opts
    }
    for argument in arguments:
        if argument == "--" or not argument.startswith("-"):
            return
        assert argument in options or name == "serve", argument


@pytest.mark.parametrize("command", named("generate-supervisor-config"), ids=of_command)
def test_configuration_can_be_generated(command: Command) -> None:
    assert make_parser().parse_args(command.words[1:]).command == "vllm"


@pytest.mark.parametrize("command", named("python"), ids=of_command)
def test_tool_accepts_options(command: Command) -> None:
    _, tool, *arguments = command.words
    source = (ROOT / tool).read_text()
    for argument in arguments:
        assert not argument.startswith("-") or f'"{argument}"' in source


@pytest.mark.parametrize("command", named("curl"), ids=of_command)
def test_curl_bodies_are_json(command: Command) -> None:
    pairs = itertools.pairwise(command.words)
    for body in (after for word, after in pairs if word == "-d"):
        assert "..." in body or json.loads(body)


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_commands_in_prose_exist(page: Path) -> None:
    for span in documentation.code_spans(page):
        first, *words = span.split()
        if first == "make":
            check_make(words)
        elif first == "mhcs" and words:
            check_mhcs(words)


def test_doctor_prints_documented_sections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = DOCS / "how-to" / "diagnose.md"
    [block] = [b for b in documentation.blocks_of(page) if b.language == "console"]
    [command] = [command for command in COMMANDS if command.block == block]
    mhcs = Path(sys.executable).with_name("mhcs")
    monkeypatch.chdir(ROOT)
    env = {**os.environ, **command.variables}
    end = run_until_exit([mhcs, "doctor"], env=env)
    assert end.status == 1
    assert sections(end.stdout) == sections(block.text)
    assert "did you mean 'ping'?" in end.stdout


def sections(text: str) -> list[str]:
    return re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)


# --- data --------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("json", "yaml"), ids=of_block)
def test_data_blocks_parse(block: Block) -> None:
    assert all(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", blocks("dockerfile"), ids=of_block)
def test_images_match_examples(block: Block) -> None:
    examples = [path.read_text() for path in ROOT.glob("examples/containers/*/*")]
    for image in re.findall(r"^FROM (\S+)", block.text, re.MULTILINE):
        assert image == "AWS_IMAGE" or any(f"FROM {image}" in text for text in examples)


def test_documented_metrics_exist() -> None:
    sagemaker.bootstrap(FastAPI())
    names = {
        sample
        for metric in prometheus_client.REGISTRY.collect()
        if metric.name.startswith("sagemaker_")
        for sample in [metric.name + ("_total" if metric.type == "counter" else "")]
    }
    text = (DOCS / "reference" / "metrics.md").read_text()
    assert {*re.findall(r"^\| `(sagemaker_\w+)`", text, re.MULTILINE)} == names


def rows_of(page: Path, heading: str) -> list[list[str]]:
    _, _, text = page.read_text().partition(f"## {heading}\n")
    lines = [line for line in text.partition("\n## ")[0].splitlines() if "`" in line]
    return [re.findall(r"`([\w.]+)", line) for line in lines if line.startswith("| `")]


def test_module_names_exist() -> None:
    page = DOCS / "reference" / "python.md"
    for module, *names in rows_of(page, "Other modules"):
        found = importlib.import_module(module)
        assert all(hasattr(found, name) for name in names), (module, names)
    for first, *_ in rows_of(page, "model_hosting_container_standards.sagemaker"):
        assert hasattr(sagemaker, first)


# --- variables ---------------------------------------------------------------------

TABLE: Final = {name for variable in variables() for name in variable.names}
#: Variables of engines and tools, and other words in capitals.
PREFIXES: Final = (
    *("SM_VLLM_", "SM_TRTLLM_", "SM_SGLANG_", "SUPERVISOR_", "VLLM_", "SGLANG_"),
    *("PIP_", "OPTION_", "RAY_", "LWS_"),
    *("NEW_SESSION", "AWS_", "STDOUT_", "STDERR_", "REDIRECT_", "TYPE_CHECKING"),
    "SM_ACME_",  # the example engine of the guide for new engines
)
NOT_OURS: Final = {
    *("FLASHINFER_WORKSPACE_BASE", "HF_HOME", "HF_MODEL_ID", "HF_TOKEN"),
    "TRITON_CACHE_DIR",
    *("XDG_CACHE_HOME", "TENSOR_PARALLEL_DEGREE", "SM_NUM_GPUS", "TRUST_REMOTE_CODE"),
    *("MAX_TOTAL_TOKENS", "MAX_CONCURRENT_REQUESTS", "MAX_BATCH_PREFILL_TOKENS"),
    *("NUM_SHARD", "CUDA_MEMORY_FRACTION", "VENV_OPTIONS", "MHCS_"),
    *("HF_REVISION", "HF_MODEL_REVISION", "HF_MODEL_QUANTIZE"),
    *("HF_MODEL_TRUST_REMOTE_CODE", "AIP_STORAGE_URI"),
    *("MULTI_RECORD", "SINGLE_RECORD"),
    *("ENV_CONFIG", "FASTAPI_ENV_CONFIG", "SAGEMAKER_ENV_CONFIG", "CUSTOM_"),
    # Python names of 0.1.x.
    *("ALLOWED_MIDDLEWARE_NAMES", "DEFAULT_MAX_DEPTH_TO_CREATE", "DEFAULT_MODEL_PATH"),
    *("LORA_ROUTE_REGISTRY", "REQUIREMENTS_FILENAME", "SAGEMAKER_ENV_VAR_PREFIX"),
    *("SAGEMAKER_HEADER_PREFIX", "SAGEMAKER_TRANSFORMS_ENV_VAR_PREFIX"),
    *("SESSION_DISABLED_ERROR_DETAIL", "SESSION_DISABLED_LOG_MESSAGE"),
}


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_variables_exist(page: Path) -> None:
    text = page.read_text()
    names = {*re.findall(r"(?<![\w/.-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]*)+(?!\w)", text)}
    unknown = {name for name in names if not name.startswith(PREFIXES)}
    assert unknown <= TABLE | NOT_OURS


def test_reference_lists_every_variable() -> None:
    text = (DOCS / "reference" / "environment.md").read_text()
    assert all(f"`{name}`" in text for name in TABLE)


# --- links, paths, generated parts -------------------------------------------------

#: Code spans that are paths of the repository: without placeholders in capitals.
FOLDERS: Final = re.compile(
    "(benchmarks|core|docs|examples|integrations|tests|tools)/[^A-Z ]*$"
)


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_relative_links_resolve(page: Path) -> None:
    for link in documentation.links(page):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in documentation.anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_repository_paths_exist(page: Path) -> None:
    for span in documentation.code_spans(page):
        assert not FOLDERS.match(span) or [*ROOT.glob(span.rstrip("/"))], span


def test_llms_txt_lists_pages() -> None:
    for link in documentation.links(DOCS / "llms.txt"):
        assert (DOCS / link).with_suffix(".md").exists(), link


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_generated_parts_are_current() -> None:
    end = run_until_exit([sys.executable, ROOT / "tools" / "reference.py", "--check"])
    assert end.status == 0, end.stderr


def test_outdated_generated_part_is_an_error(tmp_path: Path) -> None:
    for page in ("reference/environment.md", "reference/command-line.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text("<!-- settings -->\n<!-- /settings -->\n")
    command = [sys.executable, str(ROOT / "tools" / "reference.py")]
    end = run_until_exit([*command, "--docs", str(tmp_path), "--check"])
    assert end.status == 1
    assert (
        "environment.md is not current: run `python tools/reference.py`" in end.stderr
    )
