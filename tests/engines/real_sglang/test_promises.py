"""All promises, on a real SGLang."""

from __future__ import annotations

from promises.test_adapters import *
from promises.test_customised import *
from promises.test_disconnects import *
from promises.test_operations import *
from promises.test_routes import *
from promises.test_shutdown import *
from sglang_server import requires_sglang

pytestmark = requires_sglang
