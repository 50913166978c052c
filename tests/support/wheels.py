"""Small packages, and package indexes that serve them or hang.

Processes started with :data:`ALONE` use no other index.
"""

from __future__ import annotations

import os
import socket
import textwrap
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple

from servers import HOST

#: Variables with which pip and uv ignore this machine's configuration.
ALONE: Final = {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    requires: Sequence[str] = (),
    scripts: str = "",
) -> Path:
    """Write a wheel with one module, which defines ``version``."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{name}.py": f"version = {version!r}\ndef main(): print(version)\n",
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        ),
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n"
        ),
        f"{info}/top_level.txt": f"{name}\n",
        f"{info}/RECORD": "",
    }
    if scripts:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def write_source(folder: Path, build: str) -> None:
    """Write a source package with a build backend of its own.

    ``build`` is the body of its ``build_wheel(folder, ...)``.
    """
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n'
        f'[project]\nname = "{folder.name}"\nversion = "1.0"\n'
    )
    (folder / "backend.py").write_text(
        "def build_wheel(folder, config=None, metadata=None):\n"
        + textwrap.indent(textwrap.dedent(build), "    ")
    )


class Index(NamedTuple):
    """A package index, and the paths that were requested."""

    url: str
    asked: list[str]


@contextmanager
def index_of(folder: Path) -> Iterator[Index]:
    """Serve the wheels of a folder; every page lists all of them."""
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            wheel = folder / Path(self.path).name
            links = (f'<a href="/{w.name}">{w.name}</a>' for w in folder.iterdir())
            page = f"<!DOCTYPE html>{''.join(links)}".encode()
            body = wheel.read_bytes() if wheel.suffix == ".whl" else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((HOST, 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Index(f"http://{HOST}:{server.server_port}/simple", asked)
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def hanging_index() -> Iterator[tuple[str, socket.socket]]:
    """Yield the URL of an index that never responds, and its listening socket."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(30)
        yield f"http://{HOST}:{server.getsockname()[1]}/simple", server
