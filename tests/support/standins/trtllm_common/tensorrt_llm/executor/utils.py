class RequestError(RuntimeError):
    """One request has failed; the engine goes on."""


class EngineDeadError(RuntimeError):
    """The worker is lost, and will not be restarted; since 1.3."""
