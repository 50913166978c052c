"""Which release this process is, for the few facts that turn on it."""

from tensorrt_llm.version import __version__


def since(major: int, minor: int) -> bool:
    """Whether this is the release, or a later one."""
    parts = __version__.split(".")
    return (int(parts[0]), int(parts[1])) >= (major, minor)
