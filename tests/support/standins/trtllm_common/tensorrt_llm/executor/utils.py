class RequestError(RuntimeError):
    """A request has failed; the engine continues."""


class EngineDeadError(RuntimeError):
    """The worker has exited, and is not restarted; since 1.3."""
