"""Which instance of Serve runs: ``serve shutdown`` ends it, and a cluster lives on."""

from __future__ import annotations

import ray
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE


def serve_instance() -> str:
    """Return the id of Serve's controller, which keeps it when it is restarted. Blocks.

    Raises:
        ValueError: no Serve runs.
    """
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
    actor_id: str = controller._actor_id.hex()
    return actor_id
