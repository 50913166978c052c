"""Start-up hook, called by ``mhcs.pth`` and ``mhcs.start`` in every Python process.

They call it only if a variable with one of our prefixes is set. It must be cheap and
never raise: it imports only ``os`` and ``sys``, which are loaded already; even
``__future__`` would be one more file. If the environment asks for patches, it installs
a finder that imports ``mhcs.auto`` at the first import of an engine.
"""

import os
import sys

#: The file in an engine's folder, beside this one, with the modules whose import
#: reveals the engine, one per line. Reading the entry points would slow every start.
_MODULES = "modules.txt"

#: Variables that customise a server, and so ask for patches.
CUSTOMISING_VARIABLES = (
    "CUSTOM_FASTAPI_INVOCATION_HANDLER",
    "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS",
    "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE",
    "CUSTOM_FASTAPI_PING_HANDLER",
    "CUSTOM_POST_PROCESS",
    "CUSTOM_PRE_PROCESS",
    "CUSTOM_SCRIPT_FILENAME",
    "SAGEMAKER_ENABLE_STATEFUL_SESSIONS",
    "SAGEMAKER_MODEL_PATH",
)
OFF = ("0", "false", "no", "off")


class EngineFinder:
    """An import finder that finds nothing, but notices the import of an engine."""

    triggered = False
    modules: "frozenset[str]" = frozenset()

    @classmethod
    def find_spec(
        cls, fullname: str, _path: object = None, _target: object = None
    ) -> None:
        # It stays in sys.meta_path, over which importlib is iterating.
        if fullname in cls.modules and not cls.triggered:
            cls.triggered = True
            _import_auto()


def arm() -> None:
    """Install the finder, if the environment asks for patches."""
    if reason_to_patch() and EngineFinder not in sys.meta_path:
        EngineFinder.modules = engine_modules()
        sys.meta_path.insert(0, EngineFinder)


def disarm() -> None:
    """Undo :func:`arm`."""
    EngineFinder.triggered = False
    if EngineFinder in sys.meta_path:
        sys.meta_path.remove(EngineFinder)


def engine_modules() -> "frozenset[str]":
    """Return the modules by whose import engines are noticed."""
    here = os.path.dirname(__file__)  # noqa: PTH120 - pathlib would be imported for it
    found = set()
    for name in os.listdir(here):  # noqa: PTH208 - as above
        if "." not in name:
            found.update(_modules_of(f"{here}/{name}"))
    return frozenset(found)


def _modules_of(folder: str) -> "list[str]":
    try:
        with open(f"{folder}/{_MODULES}", "rb") as file:  # noqa: PTH123 - as above
            return file.read().decode().split()
    except OSError:
        return []  # It is not an engine's folder.


def reason_to_patch() -> str:
    """Return ``NAME=value`` of the variable that asks for patches; "" without one."""
    auto = os.environ.get("MHCS_AUTO", "").strip()
    if auto:
        # An invalid value is reported by mhcs.auto, not at every start.
        return "" if auto.lower() in OFF else f"MHCS_AUTO={auto}"
    for name in CUSTOMISING_VARIABLES:
        if value := os.environ.get(name, "").strip():
            return f"{name}={value}"
    return ""


def _import_auto() -> None:
    try:
        import mhcs.auto  # noqa: F401 - patches engines
    except ImportError as error:
        sys.stderr.write(f"mhcs: engines are not patched, reinstall mhcs: {error}\n")
