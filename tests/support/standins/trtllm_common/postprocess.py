"""A process of ``num_postprocess_workers``, which only imports the package."""

import signal
import threading
from collections.abc import Mapping
from typing import Any


def run(config: Mapping[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Event().wait()  # The process exits when standard input is closed.
