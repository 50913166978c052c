class RequestError(RuntimeError):
    """One request has failed; the engine goes on."""
