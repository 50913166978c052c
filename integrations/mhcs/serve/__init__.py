"""``mhcs serve``: run the image's engine, with arguments from the environment."""

from .plan import Plan, check_server, make_plan

__all__ = ["Plan", "check_server", "make_plan"]
