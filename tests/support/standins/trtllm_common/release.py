"""The release that this process stands in for."""

from tensorrt_llm.version import __version__


def since(major: int, minor: int) -> bool:
    """Return whether this is the given release, or a later one."""
    parts = __version__.split(".")
    return (int(parts[0]), int(parts[1])) >= (major, minor)
