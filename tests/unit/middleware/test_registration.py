"""Registration by decorators and environment variables."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import pytest

from customised import (
    DECORATORS,
    VARIABLES,
    PassOn,
    client_with,
    leave,
    pass_on,
)
from fixtures import Script
from middleware_source import FORMATTERS, MIDDLEWARE, PLACES, SOURCE, error_of
from model_hosting_container_standards import testing
from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
)
from model_hosting_container_standards.exceptions import MiddlewareRegistrationError

FORMS: Final = (
    "model.py:fn",
    "{folder}/model.py:fn",
    "{folder}/other.py:fn",
    "other.py:fn",
    "middleware_of_a_customer:fn",
    "model:fn",
    "model.py:instance",
    "model.py:Class",
    "model.py:Class.method",
    "model.py:Class.of_class",
    "model.py:Class.static",
    "middleware_of_a_customer:Class.method",
)


# --- decorators ----------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_decorator_returns_object_unchanged(place: str) -> None:
    assert DECORATORS[place](pass_on) is pass_on


@pytest.mark.parametrize("name", ["", "Throttle", "input_formatter", "pre_process"])
def test_unknown_place_is_an_error(name: str) -> None:
    with pytest.raises(MiddlewareRegistrationError, match="'throttle', 'pre_post_pro"):
        custom_middleware(name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("registered", [None, "model.py:fn", 7])
def test_object_that_is_not_callable_is_an_error(place: str, registered: Any) -> None:
    with pytest.raises(error_of(place), match=f"{place} must be a callable, not "):
        DECORATORS[place](registered)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("other", [PassOn, functools.partial(pass_on)], ids=type)
def test_second_registration_is_an_error_that_names_both(
    place: str, other: Any
) -> None:
    DECORATORS[place](leave)
    with pytest.raises(error_of(place), match=f"registered as {place}: ") as raised:
        DECORATORS[place](other)
    named = "PassOn" if other is PassOn else "pass_on"
    assert "customised.leave" in str(raised.value)
    assert f"customised.{named}" in str(raised.value)


def test_first_registration_stays_after_rejected_second() -> None:
    custom_middleware("throttle")(refuse)
    with pytest.raises(MiddlewareRegistrationError):
        custom_middleware("throttle")(pass_on)
    assert client_with().get("/ping").status_code == 500


async def refuse(*_args: Any) -> Any:
    raise RuntimeError("not today")


@pytest.mark.parametrize("place", PLACES)
def test_each_place_takes_one_registration(place: str) -> None:
    for each in PLACES:
        DECORATORS[each](pass_on)
    with pytest.raises(error_of(place)):
        DECORATORS[place](leave)


@pytest.mark.parametrize("place", PLACES)
def test_function_of_reloaded_module_can_register_again(
    place: str, script: Script
) -> None:
    path = script(SOURCE)
    names: dict[str, Any] = {}
    for _ in range(2):
        names = {"__name__": "loaded_twice"}
        exec(path.read_text(), names)
        DECORATORS[place](names["fn"])
    assert client_with().post("/invocations").headers["x-by"] == "fn"


@pytest.mark.parametrize("place", PLACES)
def test_reset_clears_registrations(place: str) -> None:
    DECORATORS[place](refuse)
    testing.reset()
    DECORATORS[place](leave if place in FORMATTERS else pass_on)
    assert client_with().get("/ping").status_code == 200


# --- environment ---------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_every_form_of_spec_is_resolved(
    place: str,
    form: str,
    script: Script,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("model.py", "other.py", "middleware_of_a_customer.py"):
        script(SOURCE, name)
    monkeypatch.syspath_prepend(model_folder)
    monkeypatch.setenv(VARIABLES[place], form.format(folder=model_folder))
    assert client_with().post("/invocations").headers["x-by"] == "fn"


@pytest.mark.parametrize("place", PLACES)
def test_variable_takes_precedence_over_decorator(
    place: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(SOURCE)
    monkeypatch.setenv(VARIABLES[place], "model.py:fn")
    answer = client_with(**{place: refuse}).post("/invocations")
    assert (answer.status_code, answer.headers["x-by"]) == (200, "fn")


@pytest.mark.parametrize("place", PLACES)
def test_variable_leaves_other_places_alone(
    place: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(SOURCE)
    monkeypatch.setenv(VARIABLES[place], "model.py:fn")
    seen: list[str] = []

    async def around(name: str, request: Any, call_next: Any) -> Any:
        seen.append(name)
        return await call_next(request)

    async def look(name: str, message: Any) -> None:
        seen.append(name)

    places = {
        each: functools.partial(around if each in MIDDLEWARE else look, each)
        for each in PLACES
    }
    answer = client_with(**places).post("/invocations")
    assert answer.headers["x-by"] == "fn"
    assert seen == [each for each in PLACES if each != place]


@pytest.mark.parametrize("place", PLACES)
def test_empty_variable_keeps_decorator(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLES[place], " ")
    assert client_with(**{place: refuse}).get("/ping").status_code == 500


def test_customer_script_can_use_decorators(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        "from model_hosting_container_standards.common.fastapi.middleware import (\n"
        "    custom_middleware, output_formatter)\n"
        f"{SOURCE}\n"
        "custom_middleware('throttle')(fn)\n"
        "@output_formatter\n"
        "def close(response): response.status_code = 201\n"
    )
    answer = client_with().post("/invocations")
    assert (answer.status_code, answer.headers["x-by"]) == (201, "fn")


@pytest.mark.parametrize("place", PLACES)
def test_file_named_by_spec_can_use_decorators(
    place: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        "from model_hosting_container_standards.common.fastapi.middleware import (\n"
        "    custom_middleware, input_formatter, output_formatter)\n"
        f"{SOURCE}\n"
        "def found(*args): raise RuntimeError('the variable goes first')\n"
        "custom_middleware('throttle')(fn)\n"
        "custom_middleware('pre_post_process')(fn)\n"
        "input_formatter(fn)\n"
        "output_formatter(fn)\n",
        "other.py",
    )
    monkeypatch.setenv(VARIABLES[place], "other.py:found")
    client = client_with()
    assert client.post("/invocations").status_code == 500
    monkeypatch.setenv(VARIABLES[place], "other.py:fn")
    assert client_with().post("/invocations").headers["x-by"] == "fn"
