"""Modules that can be imported, and whose names can be referred to, but not used.

SGLang imports triton, torchvision and its compiled kernels at the top of its modules:
it decorates functions, derives classes and annotates parameters with what they have. A
text model on a CPU calls none of it.
"""

from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any, Final

#: Packages with a stand-in, and the version that each of them states: a recent one.
VERSIONS: Final = {"sgl_kernel": "0.4.10", "torchvision": "0.28.0", "triton": "3.7.0"}
#: Names that no stand-in has. torch and SGLang ask triton's driver for its device, and
#: if there is no driver, they know that there is no device.
ABSENT: Final = frozenset({"driver"})


class StandInType(type):
    """The type of a stand-in's names: classes, which serve as anything else too."""

    def __getattr__(cls, name: str) -> "StandInType":
        return _add(cls, name, f"{cls.__module__}.{cls.__qualname__}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return the decorated function, or an object that decorates one."""
        if len(args) == 1 and isinstance(args[0], FunctionType | type) and not kwargs:
            return args[0]
        return super().__call__()

    def __contains__(cls, item: object) -> bool:
        """Return false: torch looks for the CPU among triton's backends."""
        return False


class StandIn(metaclass=StandInType):
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


class StandInModule(ModuleType):
    def __getattr__(self, name: str) -> StandInType:
        return _add(self, name, self.__name__)


class StandInFinder(MetaPathFinder, Loader):
    """Finds the packages of `VERSIONS`, and any module below them."""

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        package, *below = name.split(".")
        if package not in VERSIONS or ABSENT.intersection(below):
            return None
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandInModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in VERSIONS:
            vars(module)["__version__"] = VERSIONS[module.__name__]


def _add(owner: Any, name: str, module: str) -> StandInType:
    """Add a class to a module or class, so that each access returns the same."""
    if name in ABSENT or name.startswith("__"):
        raise AttributeError(f"The stand-in {module} has no {name!r}.")
    found = StandInType(name, (StandIn,), {"__module__": module})
    setattr(owner, name, found)
    return found
