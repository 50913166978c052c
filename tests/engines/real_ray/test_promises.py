"""The promises on a real Ray Serve LLM, by its ingress.

Ray itself ends replicas, so those of shutdowns do not apply. What is registered ends
with the cluster, and an ingress learns from the replicas whether LoRA is enabled.
"""

from __future__ import annotations

from promises.test_adapters import *
from promises.test_customised import *
from promises.test_disconnects import *
from promises.test_operations import *
from promises.test_routes import *
from ray_server import requires_ray

pytestmark = requires_ray

for name in (
    "test_restarted_server_restores_its_adapters",
    "test_server_without_lora_refuses_adapters",
):
    del globals()[name]
