class RayServeException(Exception):
    """An error of Serve itself."""
