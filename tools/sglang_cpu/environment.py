"""Creates the environment of a release: its wheel, small requirements, stand-ins."""

import re
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Final

from layered_environment import (
    ROOT,
    base_line,
    base_packages,
    create,
    distribution_names,
    install_excluding,
    install_into,
    require_vllm,
    site_packages,
)
from uv_commands import run_probe, say

STAND_INS: Final = Path(__file__).with_name("stand_ins")
#: The name of the stand-ins' package in an environment.
PACKAGE: Final = "sglang_cpu_stand_ins"
#: What torch calls after its import.
CALLED: Final = {
    "pinned_memory": "pinned_memory:ignore_requests",
    "slow_workers": "slow_workers:wait_for_workers",
}
#: Written last, with the release.
MARKER: Final = "sglang-version.txt"
#: What SGLang imports to serve a text model and vLLM does not require.
REQUIREMENTS: Final = ("gguf", "IPython", "orjson", "soundfile", "traitlets")
#: The requirement of transformers, and what is released with it.
PINNED: Final = re.compile(r"transformers==([\w.]+)")
FITTED: Final = ("huggingface_hub", "tokenizers", "transformers")
#: Imports what a server imports before it loads its model, and this package.
PROBE: Final = (
    "import mhcs;"
    "import sglang.srt.entrypoints.http_server;"
    "import sglang.srt.managers.scheduler"
)


def build(version: str, folder: Path) -> None:
    """Create an environment in ``folder`` in which a release of SGLang serves.

    If it is there, only the stand-ins are written anew.
    """
    started = time.monotonic()
    require_vllm(base_packages(), "SGLang")
    python = folder / "bin" / "python"
    marker = folder / MARKER
    if not marker.exists() or marker.read_text() != version:
        install(version, folder, python)
    write_stand_ins(site_packages(folder))
    if not marker.exists():
        probe(version, python)
        marker.write_text(version)
    say(f"SGLang {version} is ready in {folder}, {time.monotonic() - started:.0f} s")


def install(version: str, folder: Path, python: Path) -> None:
    say(f"installing SGLang {version}")
    create(folder)
    packages = (f"sglang=={version}", *REQUIREMENTS)
    # This package too, for its commands.
    install_into(python, "--no-deps", *packages, "--editable", str(ROOT))
    transformers = required_transformers(site_packages(folder))
    if transformers and transformers != installed(base_packages(), "transformers"):
        install_transformers(transformers, python)


def required_transformers(packages: Path) -> str | None:
    """Return the version that the installed SGLang requires exactly."""
    (sglang,) = metadata.distributions(name="sglang", path=[str(packages)])
    matches = (PINNED.match(line) for line in sglang.requires or [])
    return next((match[1] for match in matches if match), None)


def installed(packages: Path, name: str) -> str:
    (found,) = metadata.distributions(name=name, path=[str(packages)])
    return found.version


def install_transformers(version: str, python: Path) -> None:
    """Install the version with what it fits, and all else that it requires excluded.

    Releases of SGLang register models that later releases of transformers have.
    """
    say(f"installing transformers {version}")
    excluded = distribution_names(base_packages()).difference(FITTED)
    install_excluding(excluded, python, f"transformers=={version}")


def write_stand_ins(packages: Path) -> None:
    """Write the stand-ins, and the file by which Python finds them and the base."""
    shutil.rmtree(packages / PACKAGE, ignore_errors=True)
    shutil.copytree(STAND_INS, packages / PACKAGE)
    write_entry_point(packages)
    (packages / "sglang_cpu.pth").write_text(pth(base_packages()))


def write_entry_point(packages: Path) -> None:
    """Register a distribution whose entry points torch calls after its import."""
    info = packages / f"{PACKAGE}-1.dist-info"
    info.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1\n"
    (info / "METADATA").write_text(text)
    lines = [f"{name} = {PACKAGE}.{function}" for name, function in CALLED.items()]
    (info / "entry_points.txt").write_text("\n".join(["[torch.backends]", *lines, ""]))


def pth(base: Path) -> str:
    """Return a .pth file that installs the stand-ins and adds ``base``."""
    return f"import {PACKAGE}; {PACKAGE}.install()\n{base_line(base)}"


def probe(version: str, python: Path) -> None:
    run_probe(
        python,
        PROBE,
        f"SGLang {version} cannot be imported: it needs "
        "another package in REQUIREMENTS of tools/sglang_cpu/environment.py, or a "
        "name that a stand-in or a requirement's installed release does not have.",
    )
