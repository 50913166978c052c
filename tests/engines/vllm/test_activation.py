"""Activation on vLLM: each method adds our routes, and only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest

from layouts import (
    CALL_BOOTSTRAP,
    CUSTOMER,
    LAUNCH,
    LAYOUTS,
    MHCS_RUN,
    PLUGIN,
    PYTHON_M,
    SERVE,
    fail_to_start,
    standin,
)
from servers import Server, polling

# Layouts that call bootstrap themselves must not, so that only the patch is tested.
NO_OWN_CALL: Final = {"STANDIN_CALLS_BOOTSTRAP": "0"}
BY_AUTO: Final = {"MHCS_AUTO": "1"}
BY_MODEL_PATH: Final = {"SAGEMAKER_MODEL_PATH": str(CUSTOMER)}
TWO_SERVERS: Final = ("--api-server-count", "2")
#: Two of these paths have two routes, for different methods.
OUR_ROUTES: Final = [
    "/adapters",
    "/adapters/{adapter_name:path}",
    "/adapters/{adapter_name:path}/update",
    "/execution-parameters",
    "/invocations",
    "/invocations-bidirectional-stream",
    "/metrics",
    "/ping",
]


class Start(NamedTuple):
    """How a server of a layout is started."""

    layout: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    patched_late: bool = False


ACTIVATIONS: Final = {
    "MHCS_AUTO=1": ((*SERVE, *PLUGIN), BY_AUTO),
    "SAGEMAKER_MODEL_PATH": (SERVE, BY_MODEL_PATH),
    "mhcs run": ((*MHCS_RUN, *SERVE, *PLUGIN), {}),
    "import mhcs.auto": ((*LAUNCH, *PLUGIN), {}),
    "python -m": ((*PYTHON_M, *PLUGIN), BY_AUTO),
}
ITS_OWN_CALL: Final = {
    "its own call": ((*SERVE, *PLUGIN), {}),
    "its own call, MHCS_AUTO=0": ((*SERVE, *PLUGIN), {"MHCS_AUTO": "0"}),
    "its own call, python -m": ((*PYTHON_M, *PLUGIN), {}),
    "its own call and MHCS_AUTO=1": ACTIVATIONS["MHCS_AUTO=1"],
    "its own call and python -m": ACTIVATIONS["python -m"],
}


def starts() -> Iterator[Any]:
    """Yield every layout with each of its activation methods."""
    for layout in LAYOUTS:
        for name, (command, env) in ACTIVATIONS.items():
            # Import hooks do not run for __main__; there serve_http is patched instead.
            late = name == "python -m" and layout != "v0_29"
            start = Start(layout, command, env | NO_OWN_CALL, late)
            yield pytest.param(start, id=f"{layout}-{name}")
    for layout in CALL_BOOTSTRAP:
        for name, (command, env) in ITS_OWN_CALL.items():
            yield pytest.param(Start(layout, command, env), id=f"{layout}-{name}")


@pytest.fixture(scope="module", params=starts())
def start(request: pytest.FixtureRequest) -> Start:
    chosen: Start = request.param
    return chosen


@pytest.fixture(scope="module")
def server(start: Start) -> Iterator[Server]:
    with standin(start.layout, *start.command, env=start.env) as server:
        yield server


def report_of(server: Server) -> dict[str, Any]:
    """Return the report of the stand-in."""
    report: dict[str, Any] = server.client.get("/standin").json()
    return report


def added_routes(report: dict[str, Any]) -> list[str]:
    """Return the routes of this package, which come before most of the engine's."""
    routes: list[str] = report["routes"]
    first = routes[: routes.index("/openapi.json")]
    return [path for path in first if not path.startswith("/v1/")]


# --- each activation method ---------------------------------------------------------


def test_customers_ping_handler_answers(server: Server) -> None:
    for method in ("GET", "POST"):
        response = server.client.request(method, "/ping")
        assert response.status_code == 200
        assert response.json() == {"answered_by": "the customer"}
    assert server.client.head("/ping").status_code == 200


def test_customers_invocation_handler_answers(server: Server) -> None:
    response = server.client.post("/invocations", json={"prompt": "Hello"})
    assert response.json() == {
        "answered_by": "the customer",
        "body": {"prompt": "Hello"},
    }


def test_routes_are_added_once(server: Server) -> None:
    ours = added_routes(report_of(server))
    assert sorted({*ours}) == OUR_ROUTES
    assert len(ours) == len(OUR_ROUTES) + 2


def test_build_app_returns_patched_app_unless_run_as_main(
    start: Start, server: Server
) -> None:
    built = report_of(server)["routes_after_build_app"]
    assert ("/ping" in built[:2]) is not start.patched_late


def test_engines_own_routes_still_answer(server: Server) -> None:
    response = server.client.post("/v1/completions", json={"prompt": "Hello"})
    assert response.json() == {
        "model": "standin",
        "text": "Hello",
        "path": "/v1/completions",
    }


def test_unknown_model_is_still_a_404(server: Server) -> None:
    body = {"model": "unknown", "prompt": "Hello"}
    assert server.client.post("/v1/completions", json=body).status_code == 404


def test_engines_lifespan_still_runs(server: Server) -> None:
    assert report_of(server)["started"]


def test_engines_logger_is_unchanged_since_import(
    server: Server,
) -> None:
    report = report_of(server)
    assert report["loggers"]["vllm"] == report["loggers_at_import"]["vllm"]


# --- several API servers -----------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((*SERVE, *PLUGIN, BY_AUTO | NO_OWN_CALL), id="MHCS_AUTO=1"),
        pytest.param((*SERVE, BY_MODEL_PATH | NO_OWN_CALL), id="SAGEMAKER_MODEL_PATH"),
        pytest.param((*MHCS_RUN, *SERVE, *PLUGIN, NO_OWN_CALL), id="mhcs run"),
        pytest.param((*LAUNCH, *PLUGIN, NO_OWN_CALL), id="import mhcs.auto"),
        pytest.param((*SERVE, *PLUGIN, {}), id="its own call"),
        pytest.param((*SERVE, *PLUGIN, BY_AUTO), id="MHCS_AUTO=1 and its own call"),
    ],
)
def two_servers(request: pytest.FixtureRequest) -> Iterator[Server]:
    *command, env = request.param
    with standin("v0_29", *command, *TWO_SERVERS, env=env) as server:
        yield server


def test_each_of_several_api_servers_is_patched_once(two_servers: Server) -> None:
    seen: set[int] = set()
    for _ in polling(timeout=20, interval=0):
        # A connection belongs to one process, so each request needs a new one.
        two_servers.client.headers["Connection"] = "close"
        report = report_of(two_servers)
        assert sorted(report["routes"][:2]) == ["/invocations", "/ping"]
        assert len(added_routes(report)) == len(OUR_ROUTES) + 2
        assert two_servers.client.get("/ping").json()["answered_by"] == "the customer"
        seen.add(report["pid"])
        if len(seen) == 2:
            return
    pytest.fail(f"only the processes {seen} answered")


# --- no customer handler -----------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((layout, command), id=f"{layout}-{name}")
        for layout in LAYOUTS
        for name, command in (("vllm serve", SERVE), ("python -m", PYTHON_M))
    ],
)
def bare_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A patched server without handlers of a customer."""
    layout, command = request.param
    with standin(layout, *command, env=BY_AUTO) as server:
        yield server


def test_engine_answers_ping_without_customers_handler(
    bare_server: Server,
) -> None:
    for method in ("GET", "POST"):
        assert bare_server.client.request(method, "/ping").status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"prompt": "Hello"}, {"messages": [{"role": "user", "content": "Hello"}]}],
    ids=["completion", "chat"],
)
def test_engine_answers_invocations_without_customers_handler(
    bare_server: Server, body: dict[str, Any]
) -> None:
    response = bare_server.client.post("/invocations", json=body)
    assert response.status_code == 200
    assert response.json()["text"] == "Hello"


def test_model_of_body_reaches_engine(bare_server: Server) -> None:
    body = {"model": "unknown", "prompt": "Hello"}
    assert bare_server.client.post("/invocations", json=body).status_code == 404


def test_route_attribute_selects_route(bare_server: Server) -> None:
    response = bare_server.client.post(
        "/invocations",
        json={"prompt": "Hello"},
        headers={"X-Amzn-SageMaker-Custom-Attributes": "route=/v1/completions"},
    )
    assert response.status_code == 200
    assert response.json()["path"] == "/v1/completions"


# --- no activation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (SERVE, {"MHCS_AUTO": ""}),
        (SERVE, {"MHCS_AUTO": "0"}),
        (SERVE, {"MHCS_AUTO": "Off", **BY_MODEL_PATH}),
        (SERVE, {"MHCS_DISABLE": "vllm", **BY_MODEL_PATH}),
        (SERVE, {"MHCS_DISABLE": "tensorrt_llm, vLLM", **BY_AUTO}),
        (SERVE, {"MHCS_DISABLE": "*", **BY_AUTO}),
        (LAUNCH, {"MHCS_AUTO": "0"}),
        (LAUNCH, {"MHCS_DISABLE": "vllm"}),
        (PYTHON_M, {"MHCS_AUTO": "0"}),
        (PYTHON_M, {"MHCS_DISABLE": "vllm", **BY_AUTO}),
    ],
    ids=str,
)
def test_disabled_engine_is_not_patched(
    command: tuple[str, ...], env: dict[str, str]
) -> None:
    with standin("v0_6", *command, env=env) as server:
        assert server.client.get("/ping").status_code == 404
        assert "/ping" not in report_of(server)["routes"]
        assert server.output() == ""


def test_disabling_another_engine_does_not_affect_vllm() -> None:
    env = {"MHCS_DISABLE": "tensorrt_llm", **BY_AUTO}
    with standin("v0_6", *SERVE, *PLUGIN, env=env) as server:
        assert server.client.get("/ping").json() == {"answered_by": "the customer"}


# --- patches that fail -------------------------------------------------------------

INVALID_AUTO: Final = {"MHCS_AUTO": "banana"}


def test_invalid_mhcs_auto_is_one_line_and_engine_starts_unpatched() -> None:
    with standin("v0_6", env=INVALID_AUTO) as server:
        assert server.client.get("/ping").status_code == 404
        [line] = server.stderr().splitlines()
    assert "MHCS_AUTO='banana'" in line
    assert "1, true, yes or on, or 0, false, no or off" in line


def test_invalid_mhcs_auto_prevents_startup_when_strict() -> None:
    end = fail_to_start("v0_6", env={"MHCS_STRICT": "1", **INVALID_AUTO})
    assert end.status != 0
    assert "MHCS_AUTO='banana' is not allowed: use 1, true" in end.stderr


def test_missing_build_app_is_one_line_and_engine_starts_unpatched() -> None:
    with standin("without_build_app", env=BY_AUTO) as server:
        assert server.client.get("/ping").status_code == 404
        [line] = server.stderr().splitlines()
    assert "build_app" in line
    assert "/ping and /invocations will be missing" in line
    assert "update model-hosting-container-standards" in line
    assert "MHCS_STRICT=1" in line


def test_missing_build_app_prevents_startup_when_strict() -> None:
    end = fail_to_start("without_build_app", env={"MHCS_STRICT": "1", **BY_AUTO})
    assert end.status != 0
    assert "build_app" in end.stderr.splitlines()[-1]


def test_invalid_mhcs_strict_is_reported_when_patch_fails() -> None:
    end = fail_to_start("without_build_app", env={"MHCS_STRICT": "maybe", **BY_AUTO})
    assert end.status != 0
    assert "MHCS_STRICT='maybe' is not allowed: use 1, true" in end.stderr


def test_invalid_mhcs_strict_is_ignored_when_patch_succeeds() -> None:
    with standin("v0_6", *SERVE, *PLUGIN, env={"MHCS_STRICT": "maybe", **BY_AUTO}) as s:
        assert s.client.get("/ping").json() == {"answered_by": "the customer"}


# --- the Rust front end ------------------------------------------------------------


def test_rust_front_end_is_reported_once_for_all_processes() -> None:
    env = {"VLLM_USE_RUST_FRONTEND": "1", **BY_AUTO}
    with standin("v0_29", env=env) as server:
        assert server.client.get("/ping").status_code == 404
        [line] = server.stderr().splitlines()
    assert "VLLM_USE_RUST_FRONTEND" in line
    assert "/ping" in line
    assert "Unset it" in line


@pytest.mark.parametrize("value", ["0", ""])
def test_disabled_rust_front_end_is_not_reported(value: str) -> None:
    env = {"VLLM_USE_RUST_FRONTEND": value, **BY_AUTO}
    with standin("v0_29", *SERVE, *PLUGIN, env=env) as server:
        assert server.client.get("/ping").json() == {"answered_by": "the customer"}
        assert server.stderr() == ""


# --- logging -----------------------------------------------------------------------

ROOT_LOGGER: Final = {"level": 30, "disabled": False, "handlers": []}
FORMAT: Final = "%(levelname)s [vllm] %(message)s"
VLLM_LOGGER: Final = {
    "level": 20,
    "disabled": False,
    "handlers": [["StreamHandler", 20, FORMAT]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_root_and_vllm_loggers_are_unchanged(layout: str) -> None:
    env = {"SAGEMAKER_CONTAINER_LOG_LEVEL": "DEBUG", **BY_AUTO}
    with standin(layout, env=env) as server:
        assert report_of(server)["loggers"] == {
            "root": ROOT_LOGGER,
            "vllm": VLLM_LOGGER,
        }


def test_log_handlers_of_launching_script_are_unchanged() -> None:
    env = {"SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO"}
    with standin("v0_6", *LAUNCH, env=env) as server:
        root = report_of(server)["loggers"]["root"]
        lines = server.stderr().splitlines()
    own_handler = ["StreamHandler", 0, "launch: %(message)s"]
    assert root == {"level": 30, "disabled": False, "handlers": [own_handler]}
    # Its handler prints our lines too, and only once.
    assert len([line for line in lines if "launch: /ping is answered by" in line]) == 1
    assert len([line for line in lines if "/ping is answered by" in line]) == 1
