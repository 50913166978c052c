"""Tell whether processes compute, by the CPU time that they use."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from .tree import cpu_seconds, is_stopped

#: Shortest time between two samples, in seconds: /proc counts CPU time in hundredths.
_SAMPLE_S: Final = 1.0
#: Share of a core from which on a process counts as computing. One that polls every
#: hundredth of a second uses about a tenth of it.
_MIN_CPU_SHARE: Final = 0.1


class CPUActivity:
    """Measures for how long none of several processes has computed.

    While one of them is stopped all count as idle: others may spin, waiting for it.

    Args:
        processes: returns the process ids; called for each sample.
    """

    def __init__(self, processes: Callable[[], Collection[int]]) -> None:
        self._processes = processes
        self.reset()

    def reset(self) -> None:
        """Discard all samples."""
        self._used: dict[int, float] = {}
        self._sampled_at: float | None = None
        self._computed_at = 0.0

    def idle_s(self) -> float:
        """Take a sample and return for how many seconds no process has computed.

        The time counts from the first sample, which has no predecessor.
        """
        now = time.monotonic()
        if self._sampled_at is None or now - self._sampled_at >= _SAMPLE_S:
            if self._sampled_at is None or self._computed(now - self._sampled_at):
                self._computed_at = now
            self._used = {pid: cpu_seconds(pid) for pid in self._processes()}
            self._sampled_at = now
        return now - self._computed_at

    def _computed(self, seconds: float) -> bool:
        """Whether a process has computed in the last ``seconds``."""
        if any(is_stopped(pid) for pid in self._used):
            return False
        increases = [cpu_seconds(pid) - used for pid, used in self._used.items()]
        return max(increases, default=0.0) >= _MIN_CPU_SHARE * seconds
