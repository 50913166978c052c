from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_hosting_container_standards.exceptions import InvalidHandlerSpecError
from model_hosting_container_standards.handlers.spec import (
    HandlerSpec,
    parse_handler_spec,
)


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("model.py:fn", HandlerSpec("file", "model.py", "fn")),
        ("code/my-model.py:fn", HandlerSpec("file", "code/my-model.py", "fn")),
        (
            "/opt/ml/model/handlers.py:Class.method",
            HandlerSpec("file", "/opt/ml/model/handlers.py", "Class.method"),
        ),
        ("model:fn", HandlerSpec("module", "model", "fn")),
        ("a.b_c:D.e", HandlerSpec("module", "a.b_c", "D.e")),
        ("/v1/health", HandlerSpec("path", "/v1/health")),
        ("/", HandlerSpec("path", "/")),
    ],
)
def test_every_valid_form_is_parsed(spec: str, parsed: HandlerSpec) -> None:
    assert parse_handler_spec(spec) == parsed


def test_spec_has_code_reference() -> None:
    assert parse_handler_spec("a/b.py:C.d").reference == "a/b.py:C.d"


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":",
        "fn",
        "model.py",
        "/opt/ml/model/model.py",
        "model.py:",
        ":fn",
        "model.py:f n",
        "model.py:1fn",
        "model.py:fn()",
        "model.py:.fn",
        "a..b:fn",
        "a.b:",
        "my-module:fn",
        "http://host/path",
        "/v1/health?x=1",
        "/v1/he alth",
    ],
)
def test_invalid_spec_is_an_error_that_lists_the_forms(spec: str) -> None:
    with pytest.raises(InvalidHandlerSpecError, match="write model.py:function") as e:
        parse_handler_spec(spec)
    assert repr(spec) in str(e.value)


def test_relative_path_outside_model_folder_is_an_error() -> None:
    with pytest.raises(InvalidHandlerSpecError, match="leaves the model folder"):
        parse_handler_spec("../other/model.py:fn")


@given(st.text())
def test_any_text_is_parsed_or_an_invalid_spec_error(spec: str) -> None:
    try:
        parsed = parse_handler_spec(spec)
    except InvalidHandlerSpecError:
        return
    original = parsed.location if parsed.kind == "path" else parsed.reference
    assert original == spec
