"""The Python environments of the sides, created once below ``build/``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "build" / "bench"
#: The last FastAPI on which the handlers of the published package work.
COMMON_FASTAPI: Final = "0.136.3"
PUBLISHED_PACKAGE: Final = "model-hosting-container-standards==0.1.16"
_SERVER: Final = "uvicorn[standard]"
_TRACING: Final = "opentelemetry-sdk"
_SOURCES: Final = ("core", "integrations", "pyproject.toml")
_PTH_FILES: Final = ("mhcs.pth", "mhcs.start")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment and its contents.

    Args:
        requirements: the requirements that pip installs.
        like: an environment whose package versions are used as constraints.
        ours: whether our package is installed, built from this working tree.
        start_files: whether our package's start files are kept.
    """

    name: str
    requirements: tuple[str, ...] = ()
    like: Environment | None = None
    ours: bool = True
    start_files: bool = True

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    def make(self) -> None:
        """Create or update the environment, unless it is current."""
        wheel = build_wheel() if self.ours else None
        stamp = self.folder / "made-of"
        before = stamp.read_text().splitlines() if stamp.exists() else []
        now = [repr((sys.version, self)), str(wheel)]
        if before == now:
            return
        print(f"making build/bench/{self.name}", flush=True)
        stamp.unlink(missing_ok=True)
        if before[:1] == now[:1]:
            self._pip("uninstall", "-qq", "--yes", "model-hosting-container-standards")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", "--without-pip", str(self.folder))
        self._install(wheel)
        stamp.write_text("\n".join(now))

    def versions(self) -> dict[str, str]:
        """Return the version of each distribution in it."""
        lines = self._pip("list", "--format=freeze").splitlines()
        return dict(line.split("==", 1) for line in lines if "==" in line)

    def _install(self, wheel: Path | None) -> None:
        if self.requirements:
            known = self.like.versions() if self.like else {}
            constraints = self.folder / "constraints.txt"
            pins = [f"{k}=={v}" for k, v in known.items() if not _is_ours(k)]
            constraints.write_text("\n".join(pins))
            requirements = [*self.requirements, *([str(wheel)] if wheel else [])]
            self._pip("install", "-qq", "-c", str(constraints), *requirements)
        elif wheel:
            self._pip("install", "-qq", "--no-deps", str(wheel))
        if not self.start_files:
            self._drop_start_files()

    def _drop_start_files(self) -> None:
        for packages in self.folder.glob("lib/python3*/site-packages"):
            for name in _PTH_FILES:
                (packages / name).unlink(missing_ok=True)

    def _pip(self, *arguments: str) -> str:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        return _run(*pip, "--python", self.python, *arguments)


PUBLISHED: Final = Environment(
    "published", (f"fastapi=={COMMON_FASTAPI}", _SERVER, PUBLISHED_PACKAGE), ours=False
)
OURS: Final = Environment(
    "ours", (f"fastapi=={COMMON_FASTAPI}", _SERVER, _TRACING), like=PUBLISHED
)
NEWEST: Final = Environment("newest", ("fastapi", _SERVER, _TRACING))
# Names of equal length, as the interpreter's start-up time depends on path lengths.
WITH_START_FILES: Final = Environment("start1")
WITHOUT_START_FILES: Final = Environment("start0", start_files=False)
ENVIRONMENTS: Final = (
    PUBLISHED,
    OURS,
    NEWEST,
    WITH_START_FILES,
    WITHOUT_START_FILES,
)


@cache
def build_wheel() -> Path:
    """Return a wheel of this working tree, rebuilt if the sources have changed."""
    folder = FOLDER / "wheels" / _hash_of_sources()
    if not list(folder.glob("*.whl")):
        print("building the wheel", flush=True)
        shutil.rmtree(folder.parent, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps")
        _run(*pip, "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    for source in (ROOT / name for name in _SOURCES):
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _is_ours(name: str) -> bool:
    return name.lower().replace("_", "-") == "model-hosting-container-standards"


def _run(*command: str) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
