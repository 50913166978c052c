"""Whether processes compute, by the CPU time that they have used."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from .tree import cpu_seconds, is_stopped

#: The shortest time over which CPU time is compared, in seconds: /proc counts it in
#: hundredths.
_SAMPLE_S: Final = 1.0
#: The part of that time that a process has to use to be seen to compute. One that looks
#: for work every hundredth of a second uses a tenth of this.
_COMPUTES: Final = 0.1


class CPUActivity:
    """Tells for how long none of some processes has computed.

    While one of them is stopped, none is seen to: others may spin, and wait for it.

    Args:
        processes: returns their ids; asked each time, as they come and go.
    """

    def __init__(self, processes: Callable[[], Collection[int]]) -> None:
        self._processes = processes
        self.forget()

    def forget(self) -> None:
        """Begin anew with the next look."""
        self._used: dict[int, float] = {}
        self._looked_at: float | None = None
        self._computed_at = 0.0

    def idle_s(self) -> float:
        """Look, and return for how many seconds none has computed.

        They count from the first look, which has nothing to compare with.
        """
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at >= _SAMPLE_S:
            if self._looked_at is None or self._compute(now - self._looked_at):
                self._computed_at = now
            self._used = {pid: cpu_seconds(pid) for pid in self._processes()}
            self._looked_at = now
        return now - self._computed_at

    def _compute(self, seconds: float) -> bool:
        """Whether one has computed in the last ``seconds``."""
        if any(is_stopped(pid) for pid in self._used):
            return False
        spent = [cpu_seconds(pid) - used for pid, used in self._used.items()]
        return max(spent, default=0.0) >= _COMPUTES * seconds
