"""The command line of ``mhcs check``: options, files, keys, interrupts, the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import matplotlib.image
import pytest
from typer.testing import CliRunner, Result

import documentation
from adapter_engine import write_adapter
from check_command import run_check
from check_reports import report_of
from documentation import DOCS, ROOT
from mhcs.check.formats.html_page import as_html
from mhcs.cli import app
from raw_server import answer, raw_server, wait_for_hang_up
from servers import Process, Server

SUPPORT: Final = str(ROOT / "tests" / "support")
UVICORN: Final = (sys.executable, "-m", "uvicorn", "--log-level=error")
MHCS: Final = str(Path(sys.executable).with_name("mhcs"))


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture(scope="module")
def example() -> Iterator[Server]:
    folder = ROOT / "examples" / "fastapi_server"
    command = [*UVICORN, f"--app-dir={folder}", "server:app"]
    with Server(command, ready_path="/ping") as server:
        yield server


# --- results -------------------------------------------------------------------------


def test_example_passes_what_it_offers(example: Server) -> None:
    checked = run_check(example.url)
    assert checked.status == 0, checked.document
    assert checked.named("fail") == []
    assert {"ping-load", "invocations-concurrent", "errors-large"} <= {
        *checked.named("pass")
    }
    assert {"streams-events", "adapters-list", "sessions-new"} <= {
        *checked.named("not offered")
    }


def test_documented_example_is_what_it_shows(example: Server) -> None:
    page = DOCS / "how-to" / "check.md"
    [block] = [x for x in documentation.blocks_of(page) if x.language == "console"]
    lines = check(example.url).stdout.splitlines()
    names = {tuple(line.split()[:-1][:2]) for line in lines}
    *documented, summary = block.text.splitlines()[2:]
    assert summary.partition(": ")[2] == lines[-1].partition(": ")[2]
    shown = [line for line in documented if line != "…"]
    assert shown
    assert all(tuple(line.split()[:2]) in names for line in shown)


def test_text_shows_each_check_and_a_summary(example: Server) -> None:
    outcome = check(example.url, "--only=ping")
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:5]] == [
        ["pass", f"ping-{name}"]
        for name in ("answers", "times", "methods", "load", "honest")
    ]
    assert lines[-1].endswith("5 pass, 0 fail, 0 not offered, 0 skipped")


def test_text_shows_the_request_that_failed() -> None:
    def respond(connection: socket.socket, path: str) -> None:
        # After each wrong body, /ping is asked.
        is_wrong = path == "/invocations" and next(numbers) > 1
        body = b'{"prompt": "a"}'
        answer(connection, body, "X-A: 1", status=500 if is_wrong else 200)

    numbers = iter(range(1, 9))
    with raw_server(respond) as url:
        outcome = check(url, "--only=errors-json")
    assert outcome.exit_code == 1
    assert "sent: POST /invocations" in outcome.stdout
    assert "came: 500 Internal Server Error" in outcome.stdout


def test_progress_of_another_format_is_on_standard_error(example: Server) -> None:
    outcome = check(example.url, "--only=ping-answers", "--format=junit")
    assert "pass         ping-answers" in outcome.stderr
    assert ElementTree.fromstring(outcome.stdout)[0].get("tests") == "1"


def test_reports_are_written(example: Server, tmp_path: Path) -> None:
    files = [tmp_path / f"report.{end}" for end in ("html", "xml", "json", "txt")]
    outcome = check(example.url, "--only=ping", *(f"--output={file}" for file in files))
    assert outcome.exit_code == 0
    page, junit, document, text = (file.read_text() for file in files)
    assert page.startswith("<!DOCTYPE html>")
    assert ElementTree.fromstring(junit)[0].get("tests") == "5"
    assert len(json.loads(document)["checks"]) == 5
    assert text.endswith(outcome.stdout.splitlines()[-1] + "\n")


def test_report_that_cannot_be_written_is_an_error(
    example: Server, tmp_path: Path
) -> None:
    (tmp_path / "report.json").mkdir()
    outcome = check(
        example.url, "--only=ping-answers", f"--output={tmp_path}/report.json"
    )
    assert outcome.exit_code == 2
    assert "Is a directory" in outcome.stderr


# --- options -------------------------------------------------------------------------


def test_own_body_is_sent(example: Server, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"rows": [1]}')
    for given in (str(body), body.read_text()):
        options = ("--only=invocations", f"--body={given}", '--expect={"rows":[1]}')
        checked = run_check(example.url, *options)
        assert checked.named("fail") == []
        assert "invocations-handler" in checked.named("pass")
        assert "the body of --body" in checked.results["invocations-answers"]["finding"]


def test_body_of_another_type_is_sent_as_it_is(tmp_path: Path) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"3", "Content-Type: text/csv")

    (tmp_path / "body.csv").write_bytes(b"1,2\n")
    options = (f"--body={tmp_path}/body.csv", "--content-type=text/csv")
    with raw_server(respond) as url:
        checked = run_check(url, *options, "--only=invocations", "--only=models")
    assert "invocations-answers" in checked.named("pass")
    finding = checked.results["models-missing"]["finding"]
    assert finding == "the body of --body is not a JSON object"


def test_wait_waits_for_ping() -> None:
    pings = iter([503, 503])

    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"", status=next(pings, 200))

    with raw_server(respond) as url:
        assert check(url, "--only=ping-answers", "--wait=30").exit_code == 0


def test_key_comes_from_the_variable_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"", status=401)

    monkeypatch.setenv("MHCS_API_KEY", "a-key")
    with raw_server(respond) as url:
        checked = run_check(url, "--only=ping-answers", "--only=keys-ping")
    assert checked.named("skipped") == []
    exchange = checked.results["ping-answers"]["exchanges"][0]
    assert "Authorization: ***" in exchange["sent"]
    assert "a-key" not in json.dumps(checked.document)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["ftp://host"], "ftp://host: ftp:// is neither"),
        (["host", "--api-key=a\nb"], "--api-key has characters that a header"),
        (["host", "--only=pong"], "there is no check 'pong'; there is ping"),
        (["host", "--body=missing.json"], "--body missing.json: "),
        (["host", "--body=a\0b"], "--body a"),
        (["host", "--adapters=/missing"], "/missing has no adapter"),
        (["host", "--drain=0"], "--drain 0 is not the process of a server"),
        (["host", "--drain=4194305"], "--drain 4194305: No such process"),
        (["host", "--output=report.pdf"], "report.pdf ends in none of"),
    ],
)
def test_usage_error_is_explained(options: list[str], problem: str) -> None:
    outcome = check(*options)
    assert outcome.exit_code == 2
    assert f"mhcs check: {problem}" in outcome.stderr


def test_traceback_of_a_failure_does_not_show_the_key() -> None:
    """Nor other variables; older releases of typer show them unless told."""
    assert app.pretty_exceptions_show_locals is False


# --- what is left behind -------------------------------------------------------------


def served(folder: Path, **env: str) -> Server:
    variables = {"ENGINE": str(folder / "engine"), "PYTHONPATH": SUPPORT, **env}
    return Server([*UVICORN, "served_container:app"], variables, ready_path="/ping")


def test_nothing_is_left_in_the_container(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapters" / "cats", "cats")
    with served(tmp_path, SAGEMAKER_ENABLE_STATEFUL_SESSIONS="true") as server:
        options = [f"--adapters={tmp_path}/adapters", "--only=adapters"]
        checked = run_check(server.url, *options, "--only=sessions")
        assert checked.document["not_removed"] == []
        assert server.client.get("/adapters").json()["adapters"] == []
        skipped = checked.results["adapters-conflict"]
        assert skipped["finding"] == "it needs 2 adapters in --adapters"


@pytest.mark.parametrize(
    ("number", "status", "end"),
    [
        (signal.SIGINT, 200, "interrupted; what was registered is removed"),
        (signal.SIGTERM, 500, "interrupted; not removed: adapters mhcs-check-"),
    ],
)
def test_interrupt_removes_what_was_registered(
    number: signal.Signals, status: int, end: str, tmp_path: Path
) -> None:
    paths: list[str] = []
    hung = threading.Event()

    def respond(connection: socket.socket, path: str) -> None:
        paths.append(path)
        # The second request is the one of the registered adapter.
        if paths.count("/invocations") == 2 and not hung.is_set():
            hung.set()
            wait_for_hang_up(connection)
        is_deletion = path.startswith("/adapters/mhcs")
        answer(connection, b"{}", status=status if is_deletion else 200)

    write_adapter(tmp_path / "cats", "cats")
    options = [f"--adapters={tmp_path}", "--only=adapters-answer"]
    with raw_server(respond) as url:
        process = Process([MHCS, "check", url, *options, '--body={"prompt": "a"}'])
        process.start()
        try:
            assert hung.wait(60), process.output()
            os.kill(process.pid, number)
            assert process.wait(30) == 130
            assert end in process.stderr()
        finally:
            process.close()
    registered = len([path for path in paths if path == "/adapters"]) - 1
    removed = [path for path in paths if path.startswith("/adapters/mhcs-check-")]
    assert len({*removed}) == registered == 2


@pytest.mark.parametrize("status", [500, 409, 401])
def test_adapter_that_cannot_be_removed_is_named(status: int, tmp_path: Path) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        failed = path.startswith("/adapters/mhcs")
        answer(connection, b"{}", status=status if failed else 200)

    write_adapter(tmp_path / "cats", "cats")
    with raw_server(respond) as url:
        checked = run_check(url, f"--adapters={tmp_path}", "--only=adapters-register")
    assert checked.status == 1
    # One to see whether adapters are offered, and that of the check.
    names = checked.document["not_removed"]
    assert len(names) == 2
    assert all(name.startswith("mhcs-check-") for name in names)


def test_adapter_whose_registration_was_refused_is_not_left(tmp_path: Path) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"{}", status=401 if path.startswith("/adapters") else 200)

    write_adapter(tmp_path / "cats", "cats")
    with raw_server(respond) as url:
        checked = run_check(url, f"--adapters={tmp_path}", "--only=adapters-register")
    assert checked.document["not_removed"] == []


# --- the page in a browser -----------------------------------------------------------

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM: Final = next(filter(None, map(shutil.which, BROWSERS)), None)
OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--disable-sync", "--disable-background-networking"),
    *("--disable-component-update", "--disable-dev-shm-usage", "--disable-quic"),
)


def browse(page: Path, *options: str) -> str:
    # Chromium has a socket in it, whose path may have 107 characters.
    with tempfile.TemporaryDirectory() as profile:
        command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", *options]
        done = subprocess.run(
            [*command, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"HOME": profile, "PATH": "/usr/bin:/bin", "TMPDIR": profile},
        )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")
def test_browser_shows_the_page_and_runs_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(as_html(report_of()))
    shown = browse(page, "--dump-dom")
    assert "<title>mhcs check: http://host:8080</title>" in shown
    assert shown.count("<tr") == 5
    assert shown.count("<svg") == 2
    browse(page, "--window-size=900,1200", f"--screenshot={tmp_path}/page.png")
    pixels = matplotlib.image.imread(tmp_path / "page.png")
    assert pixels.shape[:2] == (1200, 900)
    colours = {tuple(pixel) for row in pixels[::3, ::3] for pixel in row.round(1)}
    blue = [c for c in colours if c[2] - c[0] > 0.4]
    green = [c for c in colours if c[1] - c[0] > 0.2]
    red = [c for c in colours if c[0] - c[1] > 0.4]
    assert blue, "the bars of the plots"
    assert green, "what passes"
    assert red, "what fails"
