class RequestError(RuntimeError):
    """One request has failed; the engine goes on."""


class EngineDeadError(RuntimeError):
    """There is no worker any more, and there will be none; since 1.3."""
