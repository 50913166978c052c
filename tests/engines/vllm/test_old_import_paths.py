"""Old import paths in customers' scripts work on newer releases of vLLM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import pytest

from layouts import CUSTOMER, PYTHON_M, SERVE, standin
from servers import Server
from venvs import ROOT

EXAMPLE: Final = ROOT / "examples" / "vllm_completion"
PING: Final = "CUSTOM_FASTAPI_PING_HANDLER"
ENTRYPOINTS: Final = "vllm.entrypoints"
#: Layouts that have the names that the script imports, at the old or the new path.
LAYOUTS: Final = ("v0_10", "v0_28", "v0_29")

# --- the example -------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((SERVE, {}, 201), id="model.py in SAGEMAKER_MODEL_PATH"),
        pytest.param((SERVE, {PING: "model.py:myping"}, 201), id="model.py:myping"),
        pytest.param(
            (SERVE, {PING: f"{EXAMPLE}/model.py:myping"}, 201),
            id="the absolute path of model.py",
        ),
        pytest.param(
            (SERVE, {PING: f"{ENTRYPOINTS}.openai.api_server:health"}, 200),
            id="health of vLLM",
        ),
        pytest.param(
            (SERVE, {"SAGEMAKER_CONTAINER_LOG_LEVEL": "DEBUG"}, 201), id="DEBUG"
        ),
        pytest.param((PYTHON_M, {}, 201), id="python -m"),
    ],
)
def command(request: pytest.FixtureRequest) -> tuple[tuple[str, ...], Any, int]:
    """A command of the contract: arguments, variables, and the status of /ping."""
    chosen: tuple[tuple[str, ...], Any, int] = request.param
    return chosen


@pytest.fixture(scope="module", params=LAYOUTS)
def server(request: pytest.FixtureRequest, command: Any) -> Iterator[Server]:
    words, variables, _ = command
    env = {"SAGEMAKER_MODEL_PATH": str(EXAMPLE), **variables}
    with standin(request.param, *words, "--dtype", "auto", env=env) as server:
        yield server


def test_ping_is_answered_by_configured_handler(server: Server, command: Any) -> None:
    *_, status = command
    assert server.client.get("/ping").status_code == status


def test_script_handler_completes(server: Server) -> None:
    response = server.client.post("/invocations", json={"prompt": "Hello"})
    assert response.status_code == 200
    assert response.json()["text"] == "Hello"
    assert response.headers["x-script"] == "model.py"


def test_script_handler_returns_engines_errors(server: Server) -> None:
    body = {"model": "unknown", "prompt": "Hello"}
    response = server.client.post("/invocations", json=body)
    assert response.status_code == 404
    assert "`unknown` does not exist" in response.text


def test_script_handler_validates(server: Server) -> None:
    assert server.client.post("/invocations", json={}).status_code == 400


def test_debug_log_names_handler_of_each_route() -> None:
    env = {
        "SAGEMAKER_MODEL_PATH": str(EXAMPLE),
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "DEBUG",
    }
    with standin("v0_29", env=env) as server:
        log = server.stderr()
    assert "/ping is answered by model.myping" in log
    assert "/invocations is answered by model.invocations" in log


# --- the names ---------------------------------------------------------------------

#: The new path in each layout that moved a name.
Found = Mapping[str, str]
COMPLETION: Final = "openai.completion"
CHAT: Final = "openai.chat_completion"
SINCE_0_15: Final = ("v0_28", "v0_29")


def in_both(path: str) -> Found:
    return dict.fromkeys(SINCE_0_15, path)


MOVED: Final[Mapping[tuple[str, str], Found]] = {
    ("openai.api_server", "health"): in_both("serve.instrumentator.health"),
    ("openai.protocol", "CompletionRequest"): in_both(f"{COMPLETION}.protocol"),
    ("openai.protocol", "ChatCompletionRequest"): in_both(f"{CHAT}.protocol"),
    ("openai.protocol", "ErrorResponse"): {
        "v0_28": "openai.engine.protocol",
        "v0_29": "serve.engine.protocol",
    },
    ("openai.engine.protocol", "ErrorResponse"): {"v0_29": "serve.engine.protocol"},
    ("openai.protocol", "LoadLoRAAdapterRequest"): in_both("serve.lora.protocol"),
    ("openai.serving_completion", "OpenAIServingCompletion"): in_both(
        f"{COMPLETION}.serving"
    ),
    ("openai.serving_chat", "OpenAIServingChat"): in_both(f"{CHAT}.serving"),
    ("openai.serving_models", "OpenAIServingModels"): in_both("openai.models.serving"),
}
UNMOVED: Final = (
    ("v0_10", "openai.protocol", "CompletionRequest"),
    ("v0_10", "openai.serving_completion", "OpenAIServingCompletion"),
    ("v0_28", "openai.engine.protocol", "ErrorResponse"),
    ("v0_29", "openai.completion.protocol", "CompletionRequest"),
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, Server]]:
    """For each layout, a server whose customer script imports names on request."""
    env = {
        "SAGEMAKER_MODEL_PATH": str(CUSTOMER),
        "CUSTOM_SCRIPT_FILENAME": "moved_names.py",
    }
    with ExitStack() as stack:
        yield {
            layout: stack.enter_context(standin(layout, env=env)) for layout in LAYOUTS
        }


def look_up(server: Server, module: str, name: str, same_as: str) -> dict[str, str]:
    body = {
        "module": f"{ENTRYPOINTS}.{module}",
        "name": name,
        "same_as": f"{ENTRYPOINTS}.{same_as}:{name}",
    }
    answer: dict[str, str] = server.client.post("/invocations", json=body).json()
    return answer


@pytest.mark.parametrize(
    ("layout", "old", "name", "new"),
    [
        pytest.param(layout, *old, new, id=f"{layout}-{':'.join(old)}")
        for old, found in MOVED.items()
        for layout, new in found.items()
    ],
)
def test_moved_name_is_found_at_old_path(
    scripts: dict[str, Server], layout: str, old: str, name: str, new: str
) -> None:
    assert look_up(scripts[layout], old, name, same_as=new) == {"found": "the same"}


@pytest.mark.parametrize(("layout", "module", "name"), UNMOVED)
def test_unmoved_name_is_the_engines(
    scripts: dict[str, Server], layout: str, module: str, name: str
) -> None:
    answer = look_up(scripts[layout], module, name, same_as=module)
    assert answer == {"found": "the same"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("openai.protocol", "ImportError"),
        ("openai.serving_completion", "ImportError"),
        ("openai.api_server", "ImportError"),
        ("openai.no_such_module", "ModuleNotFoundError"),
        ("no_such_package.protocol", "ModuleNotFoundError"),
    ],
)
def test_unknown_name_is_an_import_error(
    scripts: dict[str, Server], layout: str, module: str, error: str
) -> None:
    answer = look_up(scripts[layout], module, "NoSuchName", same_as="openai")
    assert answer == {"error": error}
