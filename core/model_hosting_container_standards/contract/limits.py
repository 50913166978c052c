"""The limits of the platform, in seconds.

Source: "Use your own inference code with hosting services" of SageMaker's developer
guide.
"""

from __future__ import annotations

from typing import Final

#: How long ``/ping`` may take.
PING_LIMIT_S: Final = 2.0
#: A container is killed so long after SIGTERM.
STOP_LIMIT_S: Final = 30.0
