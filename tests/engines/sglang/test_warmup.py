"""SGLang's warm-up sends our API key, to this machine only."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from mhcs.sglang.warmup import control_warmup, end_warmup


class Requests:
    """Records what a program sends by ``requests``."""

    codes = "of the module"

    def get(self, url: str, **kwargs: Any) -> Any:
        return url, kwargs

    post = get


@pytest.fixture
def module() -> Any:
    module: Any = ModuleType("server")
    module.requests = Requests()

    async def send(url: str, headers: dict[str, str], timeout: int) -> Any:
        return url, headers, timeout

    module._send_disaggregation_warmup_requests = send
    control_warmup(module, "key", "10.0.0.5")
    control_warmup(module, "another", None)
    return module


@pytest.mark.parametrize("method", ["get", "post"])
def test_requests_to_this_machine_have_the_key(module: Any, method: str) -> None:
    send = getattr(module.requests, method)
    headers = {"Authorization": "Bearer key"}
    assert send("http://127.0.0.1:1/x", timeout=1) == (
        "http://127.0.0.1:1/x",
        {"timeout": 1, "headers": headers},
    )
    assert send("http://10.0.0.5:1/x")[1] == {"headers": headers}
    assert send("http://[::1]:1/x", headers={"a": "b"})[1] == {
        "headers": {**headers, "a": "b"}
    }


def test_requests_to_other_machines_do_not_have_the_key(module: Any) -> None:
    url = "http://10.0.0.1:1/x"
    assert module.requests.get(url, headers=None) == (url, {"headers": None})


def test_a_key_of_the_program_has_precedence(module: Any) -> None:
    own = {"Authorization": "Bearer own"}
    assert module.requests.get("http://localhost/", headers=own)[1] == {"headers": own}


def test_rest_of_the_module_is_unchanged(module: Any) -> None:
    assert module.requests.codes == "of the module"


async def test_warm_up_of_disaggregation_has_the_key(module: Any) -> None:
    send = module._send_disaggregation_warmup_requests
    expected = "url", {"Authorization": "Bearer key"}, 1
    assert await send(url="url", headers={}, timeout=1) == expected


def test_requests_of_a_server_without_a_key_are_unchanged() -> None:
    module: Any = ModuleType("server")
    module.requests = Requests()
    control_warmup(module, None, None)
    url = "http://localhost/"
    assert module.requests.get(url, timeout=1) == (url, {"timeout": 1, "headers": {}})


@pytest.mark.parametrize("method", ["get", "post"])
def test_ended_warm_up_sends_nothing_more(module: Any, method: str) -> None:
    end_warmup(module)
    with pytest.raises(SystemExit):
        getattr(module.requests, method)("http://localhost/")
