"""An environment of SGLang finds stand-ins for what a CPU does not have."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Final

import pytest

from servers import Exit, run_until_exit
from venvs import ROOT

VERSION: Final = "0.5.23"
#: A torch whose functions return the names of their arguments.
TORCH: Final = """
from importlib.metadata import entry_points

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *args, **kwargs: sorted(kwargs)

class Tensor:
    def pin_memory(self, device=None):
        raise RuntimeError("no accelerator")

for entry in entry_points(group="torch.backends"):
    entry.load()()
"""


def run_tool(code: str) -> Exit:
    """Run code that uses the tool's module ``environment``."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tools")!r})
from sglang_cpu import environment
{code}
"""
    return run_until_exit([sys.executable, "-c", script])


def build(folder: Path, base: Path) -> Exit:
    """Build an environment of the release in the folder, layered on a base."""
    return run_tool(f"""
environment.base_packages = lambda: Path({str(base)!r})
environment.build({VERSION!r}, Path({str(folder)!r}))
""")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of an environment, with a torch that records calls."""
    folder, base = (tmp_path_factory.mktemp(name) for name in ("environment", "base"))
    (base / "vllm").mkdir()
    (base / "in_base.pth").write_text("import sys; sys.in_base = True\n")
    (folder / "sglang-version.txt").write_text(VERSION)
    end = build(folder, base)
    assert end == (0, f"SGLang {VERSION} is ready in {folder}, 0 s\n", "")
    variables = {"base": str(folder), "platbase": str(folder)}
    found = Path(sysconfig.get_path("purelib", scheme="posix_prefix", vars=variables))
    (found / "torch.py").write_text(TORCH)
    return found


def run(packages: Path, code: str) -> str:
    """Return what the code prints, run as if Python started in the environment."""
    script = f"import site, sys; sys.path.insert(0, {str(packages)!r})\n"
    script += f"site.addsitedir({str(packages)!r})\n{code}"
    end = run_until_exit([sys.executable, "-c", script])
    assert end.status == 0, end.stderr
    return end.stdout.strip()


def test_files_of_the_base_are_executed(packages: Path) -> None:
    assert run(packages, "print(sys.in_base)") == "True"


def test_modules_below_a_stand_in_are_importable(packages: Path) -> None:
    code = """
import triton, triton.language as tl
import torchvision.transforms.v2.functional as functional
print(triton.__version__, tl.__name__, functional.__name__)
"""
    assert run(packages, code) == (
        "3.7.0 triton.language torchvision.transforms.v2.functional"
    )


def test_names_of_a_stand_in_are_distinct_classes(packages: Path) -> None:
    code = """
from torchvision.transforms import InterpolationMode as Mode
from triton import KernelInterface
class Kernel(KernelInterface): ...
modes = {Mode.BICUBIC: 1, Mode.NEAREST: 2}
print(modes[Mode.BICUBIC], modes[Mode.NEAREST], Kernel.__mro__[1] is KernelInterface)
"""
    assert run(packages, code) == "1 2 True"


@pytest.mark.parametrize("decorator", ["@jit", "@jit(debug=True)", "@jit\n@jit"])
def test_decorator_of_a_stand_in_returns_the_function(
    packages: Path, decorator: str
) -> None:
    code = f"""
from triton import jit
{decorator}
def kernel(): return "called"
print(kernel())
"""
    assert run(packages, code) == "called"


def test_stand_in_has_no_driver(packages: Path) -> None:
    code = """
import importlib.util, triton.runtime
print(hasattr(triton.runtime, "driver"), hasattr(triton.runtime.jit, "driver"))
print(importlib.util.find_spec("triton.runtime.driver"))
"""
    assert run(packages, code).split() == ["False", "False", "None"]


def test_installed_package_is_found_before_its_stand_in(packages: Path) -> None:
    (packages / "sgl_kernel.py").write_text("name = 'installed'")

    assert run(packages, "import sgl_kernel; print(sgl_kernel.name)") == "installed"


def test_torch_ignores_requests_for_page_locked_memory(packages: Path) -> None:
    code = """
import torch
tensor = torch.Tensor()
print(torch.empty(1, dtype=2, pin_memory=True), tensor.pin_memory() is tensor)
"""
    assert run(packages, code) == "['dtype'] True"


def test_base_without_vllm_is_refused(tmp_path: Path) -> None:
    end = build(tmp_path / "environment", tmp_path)

    assert end.status == 1
    assert "run make install" in end.stderr


@pytest.mark.parametrize(
    ("requirement", "version"),
    [("transformers==5.12.1", "5.12.1"), ("transformers>=5", "None")],
)
def test_exact_requirement_of_transformers_is_found(
    tmp_path: Path, requirement: str, version: str
) -> None:
    info = tmp_path / "sglang-0.5.15.dist-info"
    info.mkdir()
    lines = ("Name: sglang", "Requires-Dist: torch", f"Requires-Dist: {requirement}")
    (info / "METADATA").write_text("\n".join(lines))
    code = f"print(environment.required_transformers(Path({str(tmp_path)!r})))"

    assert run_tool(code).stdout.strip() == version


@pytest.mark.parametrize("version", ["0.5.6.post2", "0.4.10", "newest"])
def test_release_without_adapters_on_a_cpu_is_refused(
    tmp_path: Path, version: str
) -> None:
    folder = tmp_path / "environment"
    command = [sys.executable, "-m", "sglang_cpu", version, str(folder)]
    end = run_until_exit(command, {"PYTHONPATH": str(ROOT / "tools")})

    assert end.status == 1
    assert f"SGLang {version!r} does not serve adapters" in end.stderr
    assert not folder.exists()


def test_torch_makes_uvicorn_wait_for_workers(packages: Path) -> None:
    code = """
import torch, uvicorn
print(uvicorn.run.__kwdefaults__["timeout_worker_healthcheck"])
"""
    assert run(packages, code) == "300"
