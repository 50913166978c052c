"""Creates the environment of a release: its wheel, its torch, and this package."""

import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Final

from install_vllm import LEFT_OUT, write_entry_wheel
from uv_commands import run_probe, say, uv

from . import nvidia, symbol_versions
from .releases import Release

ROOT: Final = Path(__file__).parents[2]
#: Python versions for which all of these releases have wheels.
PYTHONS: Final = ((3, 11), (3, 12))
#: Requirements that are installed first or left out.
EXCLUDED: Final = (*LEFT_OUT, "intel-extension-for-pytorch")
#: Requirements of torch that are not used on a CPU, several GB.
OF_CUDA: Final = re.compile("nvidia|cuda|triton")
#: Imports what a server imports before it loads its model, and this package. vLLM
#: itself chooses its extension, by the instructions that this processor has. It would
#: only log that it has found none.
PROBE: Final = (
    "import mhcs.vllm;"
    "import vllm._custom_ops, vllm.entrypoints.openai.api_server;"
    "from vllm.platforms import current_platform;"
    "assert current_platform.is_cpu(), current_platform;"
    "import torch;"
    "assert hasattr(torch.ops._C, 'rms_norm'), 'its extension was not loaded'"
)


def build(release: Release, folder: Path) -> None:
    """Create an environment in ``folder`` that runs ``vllm serve`` and the tests."""
    require_wheels()
    started = time.monotonic()
    uv("venv", "--clear", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    install_torch(release, python)
    install_vllm(release, python)
    symbol_versions.weaken_requirement(site_packages(python) / "vllm")
    probe(release, python)
    say(f"vLLM {release.version} is ready, {time.monotonic() - started:.0f} s")


def require_wheels() -> None:
    if platform.machine() != "x86_64":
        sys.exit(f"Older vLLM is set up on x86_64 only, not on {platform.machine()}.")
    if sys.version_info[:2] not in PYTHONS:
        sys.exit(
            f"Older vLLM has wheels for Python 3.11 and 3.12, and this is {sys.version}"
            ": make VENV with another one, e.g. make PYTHON=python3.11 VENV=.venv311"
        )


def install_torch(release: Release, python: Path) -> None:
    """Install torch without its requirements."""
    say(f"installing torch {release.torch}")
    alone = (f"torch=={release.torch}", *release.companions)
    uv("pip", "install", "--python", str(python), "--no-deps", *alone)
    nvidia.stand_in(site_packages(python) / "torch" / "lib")


def install_vllm(release: Release, python: Path) -> None:
    """Install the release, this package, and the requirements of both and the tests.

    In one command, so that this package satisfies the release's requirement of it.
    """
    say(f"installing vLLM {release.version}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        excluded = folder / "excluded.txt"
        excluded.write_text("\n".join(EXCLUDED))
        entry = write_entry_wheel(f"{release.version}+cpu", folder)
        uv(
            *("pip", "install", "--python", str(python), "--compile-bytecode"),
            *("--excludes", str(excluded), "--find-links", str(folder)),
            *("--group", f"{ROOT / 'pyproject.toml'}:dev", "--editable", str(ROOT)),
            *(release.wheel, release.transformers, entry),
            *requirements_of_torch(site_packages(python)),
            # Older releases use it without requiring it.
            "setuptools",
        )


def requirements_of_torch(folder: Path) -> list[str]:
    (torch,) = metadata.distributions(name="torch", path=[str(folder)])
    lines = torch.requires or []
    return [x for x in lines if not OF_CUDA.match(x) and "extra ==" not in x]


def site_packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())


def probe(release: Release, python: Path) -> None:
    run_probe(
        python,
        PROBE,
        f"vLLM {release.version} cannot be imported: its "
        "recipe in tools/old_vllm/releases.py is incomplete, or a newer release of "
        "one of its requirements is incompatible.",
    )
