"""Environments that see the packages of the environment that creates them."""

import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Final

from uv_commands import uv

ROOT: Final = Path(__file__).parents[1]


def base_packages() -> Path:
    return Path(sysconfig.get_path("purelib"))


def site_packages(folder: Path) -> Path:
    variables = {"base": str(folder), "platbase": str(folder)}
    return Path(sysconfig.get_path("purelib", scheme="posix_prefix", vars=variables))


def require_vllm(base: Path, engine: str) -> None:
    """Exit if ``base`` does not have what the engine shares."""
    if not (base / "vllm").exists():
        sys.exit(
            f"{sys.executable} has no vLLM, whose requirements {engine} shares: "
            "run make install, and this with .venv/bin/python."
        )


def create(folder: Path) -> None:
    uv("venv", "--clear", "--python", sys.executable, str(folder))


def install_into(python: Path, *arguments: str) -> None:
    uv("pip", "install", "--python", str(python), *arguments)


def install_excluding(names: Iterable[str], python: Path, *arguments: str) -> None:
    """Install packages with their requirements, except those of the names."""
    with tempfile.TemporaryDirectory() as folder:
        excluded = Path(folder) / "excluded.txt"
        excluded.write_text("\n".join(names))
        install_into(python, "--excludes", str(excluded), *arguments)


def distribution_names(packages: Path) -> set[str]:
    return {x.name for x in metadata.distributions(path=[str(packages)])}


def base_line(base: Path) -> str:
    """Return the line of a .pth file that adds ``base``.

    A line with just a path would not execute the .pth files in ``base``.
    """
    return f"import site; site.addsitedir({str(base)!r})\n"
