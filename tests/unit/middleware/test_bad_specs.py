"""Unusable middleware and formatters stop startup with an explanation."""

from __future__ import annotations

from typing import Final

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import model_hosting_container_standards.sagemaker as sagemaker
from customised import (
    VARIABLES,
    app_with,
    send_back,
)
from fixtures import Script
from middleware_source import MIDDLEWARE, PLACES, SOURCE, error_of
from model_hosting_container_standards.exceptions import (
    FormatterRegistrationError,
    MiddlewareError,
    MiddlewareNotFoundError,
    MiddlewareRegistrationError,
)

NOT_FOUND: Final = {
    "nonsense": "package.module:function",
    "absent.py:fn": "absent.py",
    "model.py:absent": "has no 'absent'",
    "model.py:number": "is a int, not a callable",
    "no_such_module:fn": "no_such_module",
    "raising.py:fn": "no weights",
    "model.py:Raising.method": "no weights",
    "/v1/health": "is a path of the app",
}
NOT_USABLE: Final = {
    "model.py:of_none": "does not take",
    "model.py:of_three": "does not take",
    "model.py:Raising": "no weights",
    "model.py:Silent": "Silent",
}


@pytest.fixture
def bad_folder(script: Script) -> None:
    """Fill a model folder with unusable objects."""
    script(SOURCE)
    script("raise KeyError('no weights')", "raising.py")


def fail_to_start(
    place: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> MiddlewareError:
    """Return the error of a failed startup, which must leave the app unchanged."""
    app = FastAPI()
    app.post("/invocations")(send_back)
    routes = list(app.router.routes)
    monkeypatch.setenv(VARIABLES[place], spec)
    with pytest.raises(MiddlewareError) as raised:
        sagemaker.bootstrap(app)
    assert app.router.routes == routes
    assert app.middleware_stack is None
    assert f"{VARIABLES[place]}={spec}" in str(raised.value)
    # The same app starts once the error is fixed.
    monkeypatch.setenv(VARIABLES[place], "model.py:fn")
    client = TestClient(sagemaker.bootstrap(app))
    assert client.post("/invocations").headers["x-by"] == "fn"
    return raised.value


@pytest.mark.usefixtures("bad_folder")
@pytest.mark.parametrize("spec", NOT_FOUND)
@pytest.mark.parametrize("place", PLACES)
def test_unresolvable_spec_stops_startup(
    place: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fail_to_start(place, spec, monkeypatch)
    in_middleware = place in MIDDLEWARE
    expected = MiddlewareNotFoundError if in_middleware else FormatterRegistrationError
    assert type(error) is expected
    assert NOT_FOUND[spec] in str(error)


@pytest.mark.usefixtures("bad_folder")
@pytest.mark.parametrize("spec", NOT_USABLE)
@pytest.mark.parametrize("place", PLACES)
def test_spec_of_unusable_object_stops_startup(
    place: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fail_to_start(place, spec, monkeypatch)
    assert type(error) is error_of(place)
    assert NOT_USABLE[spec] in str(error)


@pytest.mark.usefixtures("bad_folder")
@pytest.mark.parametrize("place", MIDDLEWARE)
def test_class_that_cannot_be_instantiated_stops_startup(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fail_to_start(place, "model.py:RaisingASGI", monkeypatch)
    assert type(error) is MiddlewareRegistrationError
    assert "KeyError: 'no weights'" in str(error)
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.usefixtures("bad_folder")
@pytest.mark.parametrize("spec", ["raising.py:fn", "model.py:Raising.method"])
@pytest.mark.parametrize("place", PLACES)
def test_customers_error_is_the_cause(
    place: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = fail_to_start(place, spec, monkeypatch)
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("place", PLACES)
def test_decorated_objects_are_checked(place: str) -> None:
    def of_none() -> None: ...

    with pytest.raises(error_of(place), match=f"{place}.* decorator.*of_none"):
        app_with(**{place: of_none})
