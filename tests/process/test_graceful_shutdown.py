"""Graceful shutdown of real server processes with requests in flight."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from servers import Server, polling
from supervised import SUPERVISOR

#: Holds its responses back until GET /release: JSON, an event stream or another stream.
APP: Final = """
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse

from model_hosting_container_standards import sagemaker

app = FastAPI()
folder = Path(os.environ["FOLDER"])


def begun():
    return len(list(folder.glob("begun-*")))


async def released():
    (folder / f"begun-{os.getpid()}-{id(object())}-{begun()}").touch()
    while not (folder / "release").exists():
        await asyncio.sleep(0.01)


async def chunks():
    yield 'data: {"text": "one"}\\n\\n'
    await released()
    yield 'data: {"text": "two"}\\n\\n'
    yield "data: [DONE]\\n\\n"


@app.get("/health")
async def health():
    return {"begun": begun()}


@app.get("/release")
async def release():
    (folder / "release").touch()


@app.get("/events")
async def events():
    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.get("/late")
async def late():
    # As libraries do that handle signals themselves.
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.remove_signal_handler(signal.SIGUSR1)


@app.get("/fork")
async def fork():
    # As process pools do: the child has its own handler, and gets SIGTERM.
    ready, notify = os.pipe()
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        os.write(notify, b".")
        while True:
            signal.pause()
    os.read(ready, 1)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.get("/exit")
async def exit():
    # As vLLM's watchdog does when the engine has died.
    app.state.server.should_exit = True


@app.get("/ping")
async def ping():
    return "well"


@app.post("/invocations")
async def invocations(body: dict):
    while body.get("stays"):
        try:
            await released()
        except asyncio.CancelledError:
            pass
    if type_ := body.get("stream"):
        return StreamingResponse(chunks(), media_type=type_)
    if body.get("wait"):
        await released()
    return {"text": "whole", "process": os.getpid()}


sagemaker.bootstrap(app)

if __name__ == "__main__":
    # As engines do: code that holds the server can end it.
    app.state.server = uvicorn.Server(
        uvicorn.Config(app, port=int(sys.argv[-1]), log_level="warning")
    )
    app.state.server.run()
    (folder / "over").touch()
    time.sleep(float(os.environ.get("GOES_ON_S", "0")))
"""
EVENTS: Final = "text/event-stream"
#: Code before the app, which shortens the total time that a shutdown may take.
IMPATIENT: Final = """
from model_hosting_container_standards.shutdown import graceful_shutdown

graceful_shutdown._ALL_S = 3.0
graceful_shutdown._ENGINE_S = 0.5
"""
#: Code before ``bootstrap``, which makes the app's shutdown hang.
HANGS: Final = """

async def hang():
    await asyncio.Event().wait()


app.router.on_shutdown.append(hang)
"""
UVICORN: Final = (sys.executable, "-m", "uvicorn", "app:app", "--log-level=warning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def serve(
    folder: Path,
    *options: str,
    seconds: int = 30,
    under: Any = (),
    command: Any = UVICORN,
    **env: str,
) -> Server:
    env = {
        "FOLDER": str(folder),
        "SAGEMAKER_MODEL_PATH": str(folder / "none"),
        "MHCS_DRAIN_SECONDS": str(seconds),
        **env,
    }
    return Server([*under, *command, *options], env, folder)


class Clients:
    """Sends requests, each in a thread of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(8)

    def post(self, **body: Any) -> Future[httpx.Response]:
        return self._threads.submit(self._post, body)

    def _post(self, body: dict[str, Any]) -> httpx.Response:
        with self._server.new_client() as client:
            return client.post("/invocations", json=body)

    def wait_until_begun(self, count: int) -> None:
        for _ in polling(30):
            if self._server.client.get("/health").json()["begun"] == count:
                return
        raise AssertionError("The requests did not reach the handler.")

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    options = getattr(request, "param", {})
    with serve(folder, **options) as server:
        yield server


@pytest.fixture
def clients(server: Server) -> Iterator[Clients]:
    clients = Clients(server)
    yield clients
    clients.close()


def begin_shutdown(server: Server) -> None:
    """Send SIGTERM to the server process, and wait until /ping answers 503."""
    os.kill(server.pid, signal.SIGTERM)
    for _ in polling(30):
        if server.client.get("/ping").status_code == 503:
            return
    raise AssertionError("/ping still answers 200.")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_in_flight_finish(folder: Path, loop: str) -> None:
    with serve(folder, f"--loop={loop}") as server:
        clients = Clients(server)
        whole, events = clients.post(wait=True), clients.post(stream=EVENTS)
        clients.wait_until_begun(2)
        begin_shutdown(server)
        refused = server.client.post("/invocations", json={})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "shutting down" in refused.text
        assert "shutting down" in server.client.get("/ping").text
        assert server.client.head("/ping").status_code == 503
        assert server.client.get("/release").status_code == 200
        assert whole.result().json()["text"] == "whole"
        assert events.result().text.endswith("data: [DONE]\n\n")
        assert server.wait(10) == -signal.SIGTERM
        clients.close()


def test_further_paths_take_part_in_a_shutdown(folder: Path) -> None:
    with (
        serve(
            folder, AIP_HEALTH_ROUTE="/healthz", AIP_PREDICT_ROUTE="/predict"
        ) as server,
        server.new_client() as client,
        ThreadPoolExecutor(1) as thread,
    ):
        whole = thread.submit(client.post, "/predict", json={"wait": True})
        Clients(server).wait_until_begun(1)
        begin_shutdown(server)
        assert server.client.get("/healthz").status_code == 503
        assert server.client.post("/predict", json={}).status_code == 503
        assert server.client.get("/release").status_code == 200
        assert whole.result().json()["text"] == "whole"
        assert server.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("server", [{"seconds": 1}], indirect=True)
def test_requests_over_the_deadline_fail_visibly(
    server: Server, clients: Clients
) -> None:
    events, other = clients.post(stream=EVENTS), clients.post(stream="text/plain")
    whole = clients.post(wait=True)
    clients.wait_until_begun(3)
    begin_shutdown(server)
    first, last, rest = events.result().text.split("\n\n")
    assert (first, rest) == ('data: {"text": "one"}', "")
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["message"]) == (503, "This server is shutting down.")
    with pytest.raises(httpx.RemoteProtocolError):
        other.result()
    assert whole.result().status_code == 503
    assert server.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("server", [{"seconds": 0}], indirect=True)
def test_zero_grace_period_ends_at_once(server: Server, clients: Clients) -> None:
    whole = clients.post(wait=True)
    clients.wait_until_begun(1)
    os.kill(server.pid, signal.SIGTERM)
    assert whole.result().status_code == 503
    assert server.wait(10) == -signal.SIGTERM


LOOPS: Final = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@LOOPS
def test_signal_to_child_ends_child_only(folder: Path, loop: str) -> None:
    with serve(folder, f"--loop={loop}") as server:
        assert server.client.get("/fork").json() == 7
        for _ in range(5):
            assert server.client.get("/ping").status_code == 200


@LOOPS
def test_other_signal_handlers_are_called(folder: Path, loop: str) -> None:
    with serve(folder, f"--loop={loop}") as server:
        server.client.get("/late").raise_for_status()
        clients = Clients(server)
        whole = clients.post(wait=True)
        clients.wait_until_begun(1)
        os.kill(server.pid, signal.SIGTERM)
        server.client.get("/release")
        assert whole.result().json()["text"] == "whole"
        assert server.wait(10) == -signal.SIGTERM
        clients.close()


@pytest.mark.parametrize("server", [{"seconds": 1}], indirect=True)
def test_stream_before_its_first_chunk_is_ended(
    server: Server, clients: Clients
) -> None:
    with server.new_client() as client, client.stream("GET", "/events") as answer:
        chunks = answer.iter_text()
        assert "one" in next(chunks)
        os.kill(server.pid, signal.SIGTERM)
        assert '"code":503' in "".join(chunks)


# --- every cause of a shutdown -----------------------------------------------------

ENGINES_OWN: Final = (sys.executable, "app.py")


def interrupt(server: Server) -> None:
    os.kill(server.pid, signal.SIGINT)


def exit_from_within(server: Server) -> None:
    server.client.get("/exit").raise_for_status()


ENDS: Final = pytest.mark.parametrize("end", [interrupt, exit_from_within])


@ENDS
def test_deadline_applies_to_every_cause_of_shutdown(folder: Path, end: Any) -> None:
    with serve(folder, seconds=1, command=ENGINES_OWN) as server:
        clients = Clients(server)
        whole = clients.post(wait=True)
        clients.wait_until_begun(1)
        end(server)
        assert whole.result().status_code == 503
        server.wait(20)
        clients.close()


@ENDS
def test_requests_in_flight_finish_for_every_cause_of_shutdown(
    folder: Path, end: Any
) -> None:
    with serve(folder, command=ENGINES_OWN) as server:
        clients = Clients(server)
        whole, events = clients.post(wait=True), clients.post(stream=EVENTS)
        clients.wait_until_begun(2)
        end(server)
        (folder / "release").touch()
        assert whole.result().json()["text"] == "whole"
        assert events.result().text.endswith("data: [DONE]\n\n")
        server.wait(20)
        clients.close()


@pytest.mark.parametrize("end", [interrupt, exit_from_within, begin_shutdown])
def test_hung_request_does_not_delay_exit(folder: Path, end: Any) -> None:
    (folder / "app.py").write_text(IMPATIENT + APP)
    with serve(folder, seconds=1, command=ENGINES_OWN) as server:
        clients = Clients(server)
        stays = clients.post(stays=True)
        clients.wait_until_begun(1)
        end(server)
        assert server.wait(20) == -signal.SIGKILL
        assert isinstance(stays.exception(), httpx.TransportError)
        clients.close()


@pytest.mark.parametrize("end", [interrupt, exit_from_within])
def test_hung_app_shutdown_does_not_delay_exit(folder: Path, end: Any) -> None:
    (folder / "app.py").write_text(
        IMPATIENT
        + APP.replace("sagemaker.bootstrap", f"{HANGS}\n\nsagemaker.bootstrap")
    )
    with serve(folder, seconds=1, command=ENGINES_OWN) as server:
        end(server)
        assert server.wait(20) == -signal.SIGKILL


def test_program_can_continue_after_its_server(folder: Path) -> None:
    """Only without a signal, and without an engine."""
    (folder / "app.py").write_text(IMPATIENT + APP)
    with serve(folder, command=ENGINES_OWN, GOES_ON_S="4") as server:
        exit_from_within(server)
        assert server.wait(20) == 0


def test_second_interrupt_exits_at_once(server: Server) -> None:
    clients = Clients(server)
    whole = clients.post(wait=True)
    clients.wait_until_begun(1)
    interrupt(server)
    for _ in polling(30):
        if server.client.get("/ping").status_code == 503:
            break
    interrupt(server)
    assert whole.result().status_code == 503
    server.wait(10)
    clients.close()


def test_idle_server_exits_at_once(server: Server) -> None:
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait(10) == -signal.SIGTERM


def test_second_sigterm_changes_nothing(server: Server, clients: Clients) -> None:
    whole = clients.post(wait=True)
    clients.wait_until_begun(1)
    begin_shutdown(server)
    os.kill(server.pid, signal.SIGTERM)
    server.client.get("/release")
    assert whole.result().json()["text"] == "whole"
    assert server.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("workers", [1, 2])
def test_supervisor_lets_every_process_finish(folder: Path, workers: int) -> None:
    """A server of several processes may forward SIGTERM later than the supervisor."""
    with serve(folder, f"--workers={workers}", under=[SUPERVISOR]) as server:
        clients = Clients(server)
        answers = [clients.post(wait=True) for _ in range(8)]
        clients.wait_until_begun(8)
        begin_shutdown(server)
        assert server.client.post("/invocations", json={}).status_code == 503
        server.client.get("/release")
        answered = [answer.result().json() for answer in answers]
        assert [answer["text"] for answer in answered] == ["whole"] * 8
        # uvicorn's parent process of several workers exits with 0.
        assert server.wait(20) == (128 + signal.SIGTERM if workers == 1 else 0)
        clients.close()


def test_supervisor_waits_no_longer_than_the_deadline(folder: Path) -> None:
    with serve(folder, "--workers=2", seconds=1, under=[SUPERVISOR]) as server:
        clients = Clients(server)
        events = clients.post(stream=EVENTS)
        clients.wait_until_begun(1)
        begin_shutdown(server)
        assert '"code":503' in events.result().text
        assert server.wait(20) == 0
        clients.close()


def test_exit_without_signal_is_a_crash(folder: Path) -> None:
    """vLLM exits with status 0 when its engine is dead."""
    ends = "import os\n\n\n@app.get('/end')\nasync def end():\n    os._exit(0)\n"
    (folder / "app.py").write_text(
        APP.replace("sagemaker.bootstrap", f"{ends}\n\nsagemaker.bootstrap")
    )
    with serve(folder, under=[SUPERVISOR]) as server:
        first = server.client.post("/invocations", json={}).json()["process"]
        with pytest.raises(httpx.RemoteProtocolError):
            server.client.get("/end")
        server.wait_until_ready()
        assert server.client.post("/invocations", json={}).json()["process"] != first
