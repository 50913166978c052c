"""The wheel and source distribution; installing and uninstalling them."""

from __future__ import annotations

import importlib
import json
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

import pytest
from packaging.specifiers import SpecifierSet

from venvs import ROOT, UV, install, make_venv, run

NAME: Final = "model-hosting-container-standards"
PACKAGES: Final = ("mhcs", "model_hosting_container_standards")
PUBLISHED: Final = f"{NAME}==0.1.16"
#: The versions that vLLM allows, above those of the published package.
RELEASES: Final = SpecifierSet(">=0.1.14,<1.0.0,>=0.2.0")

# --- the wheel ---------------------------------------------------------------------


def build(folder: Path, *what: str) -> Path:
    """Build this package with options of ``uv build``, and return the wheel."""
    run(*UV, "build", "--quiet", "--out-dir", str(folder), *what, str(ROOT))
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def wheel_of_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that was built from the source distribution in the same folder."""
    return build(tmp_path_factory.mktemp("sdist"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def text(wheel: Path, name: str) -> str:
    """Return a file of the wheel's ``.dist-info``."""
    [found] = [raw for path, raw in contents(wheel).items() if path.endswith(name)]
    return found.decode()


def test_wheel_has_two_packages_and_two_start_files(wheel: Path) -> None:
    entries = {name.split("/")[0] for name in contents(wheel)}
    [metadata] = [name for name in entries if name.endswith(".dist-info")]
    assert entries - {metadata} == {*PACKAGES, "mhcs.pth", "mhcs.start"}


def test_wheel_has_exactly_the_packages_files(wheel: Path) -> None:
    sources = {
        str(file.relative_to(ROOT / folder))
        for folder in ("core", "integrations")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert packed == sources


@pytest.mark.parametrize("package", PACKAGES)
def test_both_packages_are_typed(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in contents(wheel)


def test_wheel_satisfies_vllms_requirement(wheel: Path) -> None:
    metadata = HeaderParser().parsestr(text(wheel, ".dist-info/METADATA"))
    assert metadata["Name"] == NAME
    assert metadata["Version"] in RELEASES
    assert metadata["Requires-Python"] == ">=3.10"
    assert {"vllm", "tensorrt-llm"} <= {*metadata.get_all("Provides-Extra", [])}


def test_wheel_has_command_and_engine_entry_points(wheel: Path) -> None:
    entry_points = text(wheel, ".dist-info/entry_points.txt")
    supervisor = "model_hosting_container_standards.supervisor"
    for command in (
        f"generate-supervisor-config = {supervisor}.generate:main",
        "mhcs = mhcs.__main__:main",
        f"standard-supervisor = {supervisor}.standard_supervisor:main",
    ):
        assert f"\n{command}\n" in entry_points
    _, _, engines = entry_points.partition(
        "[model_hosting_container_standards.engines]\n"
    )
    engines, _, plugins = engines.partition("[sglang.srt.plugins]\n")
    assert plugins.split() == ["mhcs", "=", "mhcs.sglang.plugin:activate"]
    assert engines.split() == [
        *("ray", "=", "mhcs.ray:engine"),
        *("sglang", "=", "mhcs.sglang:engine"),
        *("tensorrt_llm", "=", "mhcs.tensorrt_llm:engine"),
        *("vllm", "=", "mhcs.vllm:engine"),
    ]


def test_start_files_name_the_same_function(wheel: Path) -> None:
    files = contents(wheel)
    start = files["mhcs.start"].decode().strip()
    module, _, function = start.partition(":")
    # Python executes lines of a .pth that begin with "import ", and takes others for
    # folders.
    [line] = files["mhcs.pth"].decode().splitlines()
    assert line.startswith("import ")
    assert f"{module}.{function}()" in line
    assert callable(getattr(importlib.import_module(module), function))


def test_wheel_from_source_distribution_is_identical(
    wheel: Path, wheel_of_sdist: Path
) -> None:
    assert contents(wheel_of_sdist) == contents(wheel)


def test_source_distribution_has_tests_and_no_build_files(
    wheel_of_sdist: Path,
) -> None:
    [sdist] = wheel_of_sdist.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"LICENSE", "README.md", "tests/process/test_packaging.py"} <= {*names}
    assert not [name for name in names if name.endswith((".pyc", ".so"))]
    assert not [name for name in names if name.startswith((".venv", "build", ".git/"))]


# --- pip ---------------------------------------------------------------------------

# Programs for the environment: they print the files that the distribution installed,
# and all distributions.
RECORD: Final = f"""
import json
from importlib.metadata import distribution
print(json.dumps([str(file.locate()) for file in distribution("{NAME}").files]))
"""
OWNERS: Final = """
import json
from importlib.metadata import distributions
print(json.dumps([[d.name, d.version] for d in distributions()]))
"""


@dataclass(frozen=True)
class Upgrade:
    """Files of an environment with the published package, then ours, then neither."""

    published: set[str]
    ours: set[str]
    #: Files of the published package beside ours, and of both after the uninstall.
    with_ours: set[str]
    afterwards: set[str]
    distributions: list[list[str]]
    #: What `mhcs --help` printed.
    command: str
    litter: list[Path]


@pytest.fixture(scope="module")
def upgrade(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    folder = tmp_path_factory.mktemp("upgrade") / "venv"
    python = make_venv(folder, "--seed")
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")

    install(python, PUBLISHED)
    published = {*json.loads(run(python, "-c", RECORD))}
    run(*pip, "install", str(wheel))
    ours = {*json.loads(run(python, "-c", RECORD))}
    with_ours = existing(published)
    distributions = json.loads(run(python, "-c", OWNERS))
    command = run(folder / "bin" / "mhcs", "--help")
    run(*pip, "uninstall", "--yes", NAME)
    return Upgrade(
        published=published,
        ours=ours,
        with_ours=with_ours,
        afterwards=existing(published | ours),
        distributions=distributions,
        command=command,
        litter=[*folder.rglob("mhcs*"), *folder.rglob("model_hosting_container*")],
    )


def existing(paths: Iterable[str]) -> set[str]:
    return {path for path in paths if Path(path).exists()}


def test_only_our_distribution_is_installed(wheel: Path, upgrade: Upgrade) -> None:
    version = wheel.name.split("-")[1]
    same = [owner for owner in upgrade.distributions if owner[0] == NAME]
    assert same == [[NAME, version]]


def test_no_file_of_published_package_is_left(upgrade: Upgrade) -> None:
    assert len(upgrade.published) > 10
    assert upgrade.with_ours <= upgrade.ours


def test_installed_command_works(upgrade: Upgrade) -> None:
    assert "doctor" in upgrade.command


def test_uninstall_removes_all_files(upgrade: Upgrade) -> None:
    assert any(path.endswith("/mhcs.pth") for path in upgrade.ours)
    assert not upgrade.afterwards
    assert not upgrade.litter


# --- public names ------------------------------------------------------------------

FASTAPI_NAMES: Final = ("ENV_CONFIG", "EnvVars", "FASTAPI_ENV_CONFIG", "FastAPIEnvVars")
HANDLER_ERRORS: Final = (
    "HandlerFileNotFoundError",
    "HandlerNotCallableError",
    "HandlerNotFoundError",
    "HandlerResolutionError",
    "InvalidHandlerSpecError",
    "ModuleLoadError",
)
MIDDLEWARE_ERRORS: Final = (
    "FormatterRegistrationError",
    "MiddlewareError",
    "MiddlewareNotFoundError",
    "MiddlewareRegistrationError",
)
PUBLIC: Final = {
    "common.custom_code_ref_resolver": ("FileLoader", "FunctionLoader", "ModuleLoader"),
    "common.fastapi": FASTAPI_NAMES,
    "common.fastapi.config": FASTAPI_NAMES,
    "common.handler": ("handler_registry",),
    "common.handler.spec": ("HandlerSpec", "parse_handler_spec"),
    "common.fastapi.middleware": (
        "custom_middleware",
        "input_formatter",
        "output_formatter",
    ),
    "exceptions": (*HANDLER_ERRORS, *MIDDLEWARE_ERRORS),
    "logging_config": ("enable_debug_logging", "get_logger", "logger"),
    "sagemaker": (
        "RouteConfig",
        "SAGEMAKER_ENV_CONFIG",
        "SageMakerEnvVars",
        "bootstrap",
        "custom_invocation_handler",
        "custom_ping_handler",
        "inject_adapter_id",
        "invoke",
        "override_handler",
        "ping",
        "register_close_session_handler",
        "register_create_session_handler",
        "register_handler",
        "register_invocation_handler",
        "register_load_adapter_handler",
        "register_ping_handler",
        "register_unload_adapter_handler",
        "stateful_session_manager",
        "stream",
    ),
    "sagemaker.sessions.manager": (
        "Session",
        "SessionManager",
        "get_session_manager",
        "init_session_manager_from_env",
    ),
    "sagemaker.config": ("SAGEMAKER_ENV_CONFIG", "SageMakerEnvVars"),
    "testing": ("reset",),
}


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for module, names in PUBLIC.items() for name in names],
)
def test_public_names_have_documented_import_paths(module: str, name: str) -> None:
    found = importlib.import_module(f"model_hosting_container_standards.{module}")
    assert hasattr(found, name)
    assert name in getattr(found, "__all__", dir(found))


def test_sagemaker_exports_exactly_the_documented_names() -> None:
    sagemaker = importlib.import_module("model_hosting_container_standards.sagemaker")
    assert sorted(sagemaker.__all__) == sorted(PUBLIC["sagemaker"])


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (HANDLER_ERRORS, "HandlerResolutionError"),
        (MIDDLEWARE_ERRORS, "MiddlewareError"),
    ],
)
def test_related_errors_have_a_common_base(names: tuple[str, ...], base: str) -> None:
    exceptions = importlib.import_module("model_hosting_container_standards.exceptions")
    for name in names:
        assert issubclass(getattr(exceptions, name), getattr(exceptions, base))
