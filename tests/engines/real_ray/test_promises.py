"""The promises on a real Ray Serve LLM, by its ingress.

Ray itself ends replicas, so those of shutdowns do not apply.
"""

from __future__ import annotations

from promises.test_customised import *
from promises.test_disconnects import *
from promises.test_operations import *
from promises.test_routes import *
from ray_server import requires_ray

pytestmark = requires_ray
