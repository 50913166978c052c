"""The limits of the platform, in seconds.

Source: "Use your own inference code with hosting services" of SageMaker's developer
guide.
"""

from __future__ import annotations

from typing import Final

#: Time within which ``/ping`` must answer.
PING_LIMIT_S: Final = 2.0
#: Time from SIGTERM to SIGKILL.
STOP_LIMIT_S: Final = 30.0
