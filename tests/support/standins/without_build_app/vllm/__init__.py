"""A vLLM of the future, whose ``build_app`` has another name."""

from standins.common.logs import configure_logging

configure_logging()
