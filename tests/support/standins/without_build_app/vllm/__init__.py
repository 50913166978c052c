"""A hypothetical vLLM, whose ``build_app`` has another name."""

from standins.common.logs import configure_logging

configure_logging()
