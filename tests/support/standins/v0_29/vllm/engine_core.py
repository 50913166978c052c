"""The process that would run the model."""

import signal


def run_engine_core() -> None:
    signal.pause()
