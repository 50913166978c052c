"""All tests of the contract, on each engine that is installed."""

from __future__ import annotations

import pytest

from promises.test_adapters import *
from promises.test_customised import *
from promises.test_disconnects import *
from promises.test_operations import *
from promises.test_routes import *
from promises.test_shutdown import *

pytestmark = pytest.mark.gpu
