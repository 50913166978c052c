"""Handlers that call their own server, during a drain and through a throttle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from model_hosting_container_standards.asgi.routing import request_scope
from model_hosting_container_standards.processes import sockets
from model_hosting_container_standards.processes.heartbeat import WorkerHeartbeat
from model_hosting_container_standards.tracking.own_requests import OwnRequests
from model_hosting_container_standards.tracking.request_tracker import RequestTracker
from servers import HOST, Server, polling
from supervised import SUPERVISOR

#: Its handler waits until it is released, and then calls its own server. ``via`` says
#: which process makes the call: the handler's own, or a child, such as a proxy.
APP: Final = '''
import asyncio
import os
import socket
import sys
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI

from model_hosting_container_standards import sagemaker

app = FastAPI()
folder = Path(os.environ["FOLDER"])
CHILD = """
import sys, httpx
print(httpx.post(sys.argv[1], trust_env=False).status_code)
"""


@app.get("/health")
async def health():
    return len(list(folder.glob("begun-*")))


@app.get("/ping")
async def ping():
    return "well"


@app.post("/v1/part")
async def part():
    return os.getpid()


@app.post("/invocations")
async def invocations(body: dict):
    (folder / f"begun-{os.getpid()}-{id(body)}").touch()
    while not (folder / "release").exists():
        await asyncio.sleep(0.01)
    url = f"{body['url']}/v1/part"
    if body["via"] == "child":
        command = [sys.executable, "-c", CHILD, url]
        child = await asyncio.create_subprocess_exec(*command, stdout=-1)
        return {"status": int((await child.communicate())[0])}
    if body["via"] == "all":
        return await ask_all(url)
    transport = httpx.AsyncHTTPTransport(uds=body.get("uds"))
    # Handlers may forward the headers that a proxy has added.
    headers = {"X-Forwarded-For": "203.0.113.7"}
    async with httpx.AsyncClient(transport=transport, headers=headers) as client:
        answer = await client.post(url)
    return {"status": answer.status_code}


async def ask_all(url):
    """Ask until both processes of the server have answered."""
    statuses, processes = set(), set()
    while len(processes) < 2 and statuses <= {200}:
        async with httpx.AsyncClient() as client:
            answer = await client.post(url)
        statuses.add(answer.status_code)
        processes.add(answer.text)
    return {"statuses": [*statuses]}


sagemaker.bootstrap(app)

if __name__ == "__main__":
    # As vLLM does to listen on all addresses.
    port = int(sys.argv[sys.argv.index("--port") + 1])
    listener = socket.socket(socket.AF_INET6)
    listener.bind(("::", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    asyncio.run(server.serve(sockets=[listener]))
'''
UVICORN: Final = (sys.executable, "-m", "uvicorn", "app:app", "--log-level=warning")
#: Seconds that both processes of a server may take to start on a busy machine.
PATIENCE_S: Final = 240.0
THROTTLE: Final = {
    "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE": "mhcs.throttle:Throttle",
    "MHCS_THROTTLE_MAX_IN_FLIGHT": "1",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def serve(folder: Path, *command: Any, **env: str) -> Server:
    ours = {"FOLDER": str(folder), "SAGEMAKER_MODEL_PATH": str(folder / "none")}
    return Server(command or UVICORN, {**ours, **env}, folder)


def begin(
    server: Server, threads: ThreadPoolExecutor, **body: str
) -> Future[httpx.Response]:
    """Send a request whose handler will call the server; wait until it reaches it."""
    answer = threads.submit(ask, server, **body)
    for _ in polling(30):
        if server.client.get("/health").json() == 1:
            return answer
    raise AssertionError("The request did not reach the handler.")


def ask(server: Server, **body: str) -> httpx.Response:
    body = {"url": server.url, "via": "handler", **body}
    transport = httpx.HTTPTransport(uds=body.get("uds"))
    with httpx.Client(transport=transport, timeout=PATIENCE_S) as client:
        return client.post(f"{server.url}/invocations", json=body)


def begin_shutdown(server: Server) -> None:
    os.kill(server.pid, signal.SIGTERM)
    for _ in polling(30):
        if server.client.get("/ping").status_code == 503:
            return
    raise AssertionError("/ping still answers 200.")


def release(folder: Path, answer: Future[httpx.Response]) -> int:
    """Let the handler continue; return the status that its own server gave it."""
    (folder / "release").touch()
    answered = answer.result()
    assert answered.status_code == 200, answered.text
    status: int = answered.json()["status"]
    return status


def test_handler_can_call_its_own_server_during_drain(
    folder: Path, threads: ThreadPoolExecutor
) -> None:
    with serve(folder) as server:
        answer = begin(server, threads)
        begin_shutdown(server)
        # Requests of other processes are refused, also over loopback.
        assert server.client.post("/v1/part").status_code == 503
        assert release(folder, answer) == 200
        assert server.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("host", [HOST, "[::1]"])
def test_own_calls_work_on_dual_stack_socket(
    folder: Path, threads: ThreadPoolExecutor, host: str
) -> None:
    with serve(folder, sys.executable, "app.py") as server:
        answer = begin(server, threads, url=f"http://{host}:{server.port}")
        begin_shutdown(server)
        assert server.client.post("/v1/part").status_code == 503
        assert release(folder, answer) == 200
        server.wait(10)


def test_child_is_not_a_server_process(
    folder: Path, threads: ThreadPoolExecutor
) -> None:
    """A child may be a proxy, which forwards other clients' requests."""
    with serve(folder) as server:
        answer = begin(server, threads, via="child")
        begin_shutdown(server)
        assert release(folder, answer) == 503
        server.wait(10)


def test_own_calls_work_over_unix_socket(
    folder: Path, threads: ThreadPoolExecutor
) -> None:
    path = folder / "socket"
    server = serve(folder, *UVICORN, f"--uds={path}")
    transport = httpx.HTTPTransport(uds=str(path))
    server.client.close()
    server.client = httpx.Client(transport=transport, base_url=server.url)
    server.ready_path = None
    with server:
        wait_until_listening(path)
        answer = begin(server, threads, uds=str(path))
        begin_shutdown(server)
        assert server.client.post("/v1/part").status_code == 503
        assert release(folder, answer) == 200
        server.wait(10)


def wait_until_listening(path: Path) -> None:
    for _ in polling(30):
        # uvicorn sets this mode once it listens.
        if path.exists() and path.stat().st_mode & 0o777 == 0o666:
            return
    raise AssertionError("The server does not listen.")


@pytest.mark.parametrize("under", [(), (SUPERVISOR,)], ids=["alone", "supervised"])
def test_server_processes_know_each_other(
    folder: Path, threads: ThreadPoolExecutor, under: Any
) -> None:
    """The kernel chooses which of them gets a connection."""
    command = (*under, *UVICORN, "--workers=2")
    with serve(folder, *command, **THROTTLE) as server:
        # Both processes are at their limit, so that any other request is refused.
        answers = []
        for _ in polling(PATIENCE_S / 2):
            if server.client.get("/health").json() == 2:
                break
            answers.append(threads.submit(ask, server, via="all"))
        else:
            raise AssertionError("All requests reached the same process.")
        (folder / "release").touch()
        answered = [one.json() for one in map(Future.result, answers) if one.is_success]
        assert [one["statuses"] for one in answered] == [[200], [200]]


def test_throttle_of_one_accepts_own_calls(
    folder: Path, threads: ThreadPoolExecutor
) -> None:
    with serve(folder, **THROTTLE) as server:
        answer = begin(server, threads)
        assert server.client.post("/v1/part").status_code == 429
        assert release(folder, answer) == 200
        assert server.client.post("/v1/part").status_code == 200


# --- the process of a socket -------------------------------------------------------


@pytest.fixture(params=["kernel", "tables"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of the lookup: netlink, or /proc where netlink is forbidden."""
    if request.param == "tables":
        # A protocol that does not exist, so that netlink fails.
        monkeypatch.setattr(sockets, "_SOCK_DIAG", 31)


@pytest.fixture(params=[HOST, "::1", "::ffff:127.0.0.1"])
def connection(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """The client's and the server's end of a connection from an address."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(socket.AF_INET6) as listener, socket.socket(family) as client:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", 0))
        listener.listen()
        client.connect((request.param, listener.getsockname()[1]))
        server, _ = listener.accept()
        with server:
            yield client, server


@pytest.mark.usefixtures("way")
def test_socket_is_found_by_its_addresses(connection: tuple[Any, Any]) -> None:
    client, server = connection
    theirs, ours = map(sockets.endpoint, (server.getpeername(), server.getsockname()))
    inode = sockets.find_socket(theirs, ours)
    assert inode == os.fstat(client.fileno()).st_ino
    assert sockets.is_open_in([os.getpid()], inode)
    assert not sockets.is_open_in([os.getppid()], inode)
    assert sockets.find_socket((theirs[0], 1), ours) is None


def test_inherited_socket_belongs_to_child(connection: tuple[Any, Any]) -> None:
    client, _ = connection
    inode = os.fstat(client.fileno()).st_ino
    command = [sys.executable, "-c", "import sys; print(); sys.stdin.read()"]
    pipe, passed = subprocess.PIPE, [client.fileno()]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=passed) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert sockets.is_open_in([child.pid], inode)
    assert not sockets.is_open_in([child.pid], inode)


@pytest.mark.parametrize(
    "send", [None, SimpleNamespace(transport=None), SimpleNamespace()]
)
def test_send_without_connection_is_not_an_own_request(send: Any) -> None:
    assert not OwnRequests(None).includes(SimpleNamespace(__self__=send))  # type: ignore[arg-type]


def test_closed_connection_is_not_an_own_request(connection: tuple[Any, Any]) -> None:
    _, server = connection
    server.close()
    transport = SimpleNamespace(get_extra_info=lambda _: server)
    send: Any = SimpleNamespace(__self__=SimpleNamespace(transport=transport))
    assert not OwnRequests(None).includes(send)


@pytest.mark.asyncio
async def test_calls_from_another_process_are_answered_during_drain(
    connection: tuple[Any, Any], tmp_path: Path
) -> None:
    """With a heartbeat, another process of the server may have the open request."""
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request"}

    class Connection:
        transport = SimpleNamespace(get_extra_info=lambda _: connection[1])

        async def send(self, message: Message) -> None:
            statuses.append(message.get("status"))

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})

    for heartbeat in (None, WorkerHeartbeat(tmp_path)):
        tracker = RequestTracker({}, OwnRequests(heartbeat))
        tracker.app, tracker.closed = app, "It ends."
        scope = {**request_scope("/v1/part", "POST"), "app": FastAPI()}
        await tracker(scope, receive, Connection().send)
    # Without other processes, the call cannot come from a handler of this server.
    assert [status for status in statuses if status] == [503, 200]
