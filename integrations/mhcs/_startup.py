"""What ``mhcs.pth`` and ``mhcs.start`` call at the start of every Python.

They do so only when the environment has a variable that begins as ours do. It costs
next to nothing and never raises: ``os`` and ``sys``, which are there already, are all
it imports, ``__future__`` would be one file more. Only when the environment asks for
it, it arms a finder that imports ``mhcs.auto`` at the first import of an engine.
"""

import os
import sys

#: The file in an engine's folder, beside this one, with the modules by whose import the
#: engine is noticed, one a line. To ask what is installed would cost every start.
_MODULES = "modules.txt"

#: Setting one of these says that the server is meant to be customised.
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
_OFF = ("0", "false", "no", "off")


class EngineFinder:
    """An import finder that finds nothing: it only hears that an engine is imported."""

    heard = False
    modules: "frozenset[str]" = frozenset()

    @classmethod
    def find_spec(
        cls, fullname: str, _path: object = None, _target: object = None
    ) -> None:
        # It stays in the list, which importlib is going through while it asks us.
        if fullname in cls.modules and not cls.heard:
            cls.heard = True
            _import_auto()


def arm() -> None:
    """Patch engines when they are imported, if the environment asks for it."""
    if reason_to_patch() and EngineFinder not in sys.meta_path:
        EngineFinder.modules = engine_modules()
        sys.meta_path.insert(0, EngineFinder)


def disarm() -> None:
    """Undo :func:`arm`."""
    EngineFinder.heard = False
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
    """Return ``NAME=value`` of the variable that asks for patches, or ""."""
    auto = os.environ.get("MHCS_AUTO", "").strip()
    if auto:
        # A value that is not allowed is reported by mhcs.auto, not at every start.
        return "" if auto.lower() in _OFF else f"MHCS_AUTO={auto}"
    for name in CUSTOMISING_VARIABLES:
        if value := os.environ.get(name, "").strip():
            return f"{name}={value}"
    return ""


def _import_auto() -> None:
    try:
        import mhcs.auto  # noqa: F401 - patches engines
    except ImportError as error:
        sys.stderr.write(f"mhcs: engines are not patched, reinstall mhcs: {error}\n")
