"""A process of ``num_postprocess_workers``: imports the package, and idles here."""

import signal
import threading
from collections.abc import Mapping
from typing import Any


def run(config: Mapping[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Event().wait()  # Standard input ends the process.
