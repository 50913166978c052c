"""Make Python collect garbage less often, in the processes of a real engine.

While an engine is imported, nearly all objects stay. Looking through them again and
again takes a fifth of the time of a start.
"""

from __future__ import annotations

import gc

gc.set_threshold(100_000, 50, 100)
