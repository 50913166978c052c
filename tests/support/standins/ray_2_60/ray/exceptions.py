class RayError(Exception):
    """The base class of Ray's errors."""


class ActorDiedError(RayError):
    """The actor has ended."""
