"""``mhcs.dialects:inputs_parameters``: requests and answers of TGI and LMI."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.testclient import TestClient

from completions import LOGPROBS, TOKENS, Completions, chunk
from customised import VARIABLES, app_with
from model_hosting_container_standards.exceptions import FormatterRegistrationError
from plain_engine import engine_app

SPEC: Final = "mhcs.dialects:inputs_parameters"
TEXT: Final = "".join(TOKENS)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("input_formatter", "output_formatter"):
        monkeypatch.setenv(VARIABLES[place], SPEC)


@pytest.fixture
def lmi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_DIALECT", "lmi")


@pytest.fixture
def engine() -> Completions:
    return Completions()


@pytest.fixture
def client(engine: Completions) -> TestClient:
    return TestClient(app_with(engine))


def ask(client: TestClient, inputs: Any = "Hi", **more: Any) -> Any:
    """Send a request; further arguments are keys of the body."""
    return client.post("/invocations", json={"inputs": inputs, **more})


def answer(engine: Any, inputs: Any = "Hi", **more: Any) -> Any:
    response = ask(TestClient(app_with(engine)), inputs, **more)
    assert response.status_code == 200, response.text
    assert int(response.headers["content-length"]) == len(response.content)
    return response.json()


# --- the request to the engine -------------------------------------------------------


def asked_with(parameters: Any, **more: Any) -> dict[str, Any]:
    engine = Completions()
    answer(engine, parameters=parameters, **more)
    [asked] = engine.asked
    return asked


def test_request_without_parameters_is_greedy() -> None:
    sent = {"prompt": "Hi", "max_tokens": 100, "temperature": 0}
    for parameters in (None, {}, {"do_sample": False, "top_k": None}):
        assert asked_with(parameters) == sent
    engine = Completions()
    answer(engine)
    assert engine.asked == [sent]


@pytest.mark.usefixtures("lmi")
def test_lmi_generates_less_by_default() -> None:
    assert asked_with({})["max_tokens"] == 30


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"max_new_tokens": 4}, {"max_tokens": 4, "temperature": 0}),
        ({"do_sample": True}, {"temperature": 1}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 0.5}, {"top_p": 0.5, "temperature": 1}),
        ({"top_k": 5}, {"top_k": 5, "temperature": 1}),
        ({"top_k": 0}, {"temperature": 0}),
        ({"top_k": -1, "do_sample": True}, {"temperature": 1}),
        ({"stop": ["a"]}, {"stop": ["a"], "temperature": 0}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"], "temperature": 0}),
        ({"seed": 7}, {"seed": 7, "temperature": 0}),
        ({"adapter_id": "fr"}, {"model": "fr", "temperature": 0}),
        ({"ignore_eos_token": True}, {"ignore_eos": True, "temperature": 0}),
        ({"min_length": 2}, {"min_tokens": 2, "temperature": 0}),
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1, "temperature": 0}),
        ({"watermark": False, "best_of": 1, "typical_p": 1.0}, {"temperature": 0}),
        ({"details": True}, {"logprobs": 1, "temperature": 0}),
    ],
)
def test_parameters_become_fields(
    parameters: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert asked_with(parameters) == {"prompt": "Hi", "max_tokens": 100, **fields}


@pytest.mark.parametrize("value", [{"type": "object"}, '{"type": "object"}'])
def test_grammar_becomes_a_response_format(value: Any) -> None:
    asked = asked_with({"grammar": {"type": "json", "value": value}})
    schema = {"name": "grammar", "schema": {"type": "object"}}
    assert asked["response_format"] == {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize("key", ["model", "adapters"])
def test_adapter_of_the_body(key: str) -> None:
    assert asked_with({}, **{key: "fr"})["model"] == "fr"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": None}, "inputs must be a string, or a list of strings."),
        ({"inputs": []}, "inputs must be a string, or a list of strings."),
        ({"inputs": ["a"], "stream": True}, "inputs must be a string to be streamed"),
        ({"inputs": "a", "max_tokens": 4}, "max_tokens is not supported. Supported: "),
        ({"inputs": "a", "parameters": [1]}, "parameters must be an object."),
        ({"inputs": "a", "parameters": {"x": 1}}, "parameters.x is not supported."),
        (
            {"inputs": "a", "parameters": {"best_of": 2}},
            "parameters.best_of can only be 1",
        ),
        (
            {"inputs": "a", "parameters": {"watermark": True}},
            "parameters.watermark can only be false",
        ),
        (
            {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "a"}}},
            "parameters.grammar can only have the type json",
        ),
        ({"inputs": "a", "parameters": {"grammar": "a"}}, "parameters.grammar can"),
        (
            {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": "{"}}},
            "parameters.grammar is not JSON",
        ),
    ],
)
@pytest.mark.parametrize("dialect", ["tgi", "lmi"])
def test_what_is_not_supported_is_a_400_of_the_dialect(
    monkeypatch: pytest.MonkeyPatch,
    dialect: str,
    body: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("MHCS_DIALECT", dialect)
    engine = Completions()
    response = TestClient(app_with(engine)).post("/invocations", json=body)
    assert response.status_code == 400
    found = response.json()
    assert found.pop("error").startswith(message)
    assert found == (
        {"code": 400} if dialect == "lmi" else {"error_type": "validation"}
    )
    assert not engine.asked


# --- whole answers -------------------------------------------------------------------


def test_tgi_answers_with_a_list(client: TestClient) -> None:
    assert ask(client).json() == [{"generated_text": TEXT}]
    full = ask(client, parameters={"return_full_text": True})
    assert full.json() == [{"generated_text": f"Hi{TEXT}"}]


def test_details_of_tgi(client: TestClient) -> None:
    [result] = ask(client, parameters={"details": True, "seed": 7}).json()
    tokens = [
        {"id": -1, "text": text, "logprob": logprob, "special": False}
        for text, logprob in zip(TOKENS, LOGPROBS, strict=True)
    ]
    assert result["details"] == {
        "finish_reason": "length",
        "generated_tokens": 2,
        "seed": 7,
        "prefill": [],
        "tokens": tokens,
    }


@pytest.mark.usefixtures("lmi")
def test_lmi_answers_with_an_object(engine: Completions) -> None:
    assert answer(engine) == {"generated_text": TEXT}
    details = answer(engine, parameters={"details": True})["details"]
    assert details.pop("tokens")[0] == {"id": -1, "text": " one", "log_prob": -0.5}
    assert details == {"finish_reason": "length", "generated_tokens": 2, "inputs": "Hi"}


@pytest.mark.parametrize("dialect", ["tgi", "lmi"])
def test_several_inputs_are_several_results_in_order(
    monkeypatch: pytest.MonkeyPatch, dialect: str, engine: Completions
) -> None:
    monkeypatch.setenv("MHCS_DIALECT", dialect)
    full = {"return_full_text": True}
    results = answer(engine, ["a", "b"], parameters=full)
    assert [r["generated_text"] for r in results] == [f"a{TEXT}", f"b{TEXT} 1"]
    assert engine.asked[0]["prompt"] == ["a", "b"]
    results = answer(engine, ["a", "b"], parameters={"details": True})
    assert [r["details"]["generated_tokens"] for r in results] == [2, 2]
    [one] = answer(engine, ["a"])
    assert one == {"generated_text": TEXT}


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ({"finish_reason": "stop"}, "eos_token"),
        ({"finish_reason": "stop", "stop_reason": 7}, "eos_token"),
        ({"finish_reason": "stop", "stop_reason": "a"}, "stop_sequence"),
        ({"finish_reason": "stop", "matched_stop": 7}, "eos_token"),
        ({"finish_reason": "stop", "matched_stop": "a"}, "stop_sequence"),
        ({"finish_reason": None}, None),
    ],
)
def test_finish_reason(ending: dict[str, Any], reason: str | None) -> None:
    [result] = answer(Completions(**ending), parameters={"details": True})
    assert result["details"]["finish_reason"] == reason


def test_token_ids_of_the_engine() -> None:
    [result] = answer(Completions(token_ids=[4, 5]), parameters={"details": True})
    assert [token["id"] for token in result["details"]["tokens"]] == [4, 5]


def test_engine_without_logprobs_and_usage() -> None:
    async def bare() -> dict[str, Any]:
        return {"choices": [{"text": "a", "finish_reason": "length"}]}

    [result] = answer(bare, parameters={"details": True})
    assert result["details"]["tokens"] == []
    assert result["details"]["generated_tokens"] is None


# --- streams -------------------------------------------------------------------------


def events_of(engine: Any, prefix: str = "data:", **more: Any) -> list[Any]:
    response = ask(TestClient(app_with(engine)), stream=True, **more)
    assert response.status_code == 200, response.text
    assert "content-length" not in response.headers
    media = "application/jsonlines" if not prefix else "text/event-stream"
    assert response.headers["content-type"] == media
    ending = "\n\n" if prefix else "\n"
    *events, rest = response.text.split(ending)
    assert rest == ""
    assert all(event.startswith(f"{prefix}{{") for event in events)
    return [json.loads(event.removeprefix(prefix)) for event in events]


def tgi_token(text: str, logprob: float | None, **more: Any) -> dict[str, Any]:
    token = {"id": -1, "text": text, "logprob": logprob, "special": False}
    return {**token, **more}


@pytest.mark.parametrize("size", [1, 7, None])
def test_stream_of_tgi(size: int | None) -> None:
    engine = Completions(size=size)
    first, last = events_of(engine)
    nothing = {"generated_text": None, "details": None}
    assert first == {"index": 1, "token": tgi_token(" one", -0.5), **nothing}
    assert last == {
        "index": 2,
        "token": tgi_token(" two", -0.25),
        "generated_text": TEXT,
        "details": None,
    }
    [asked] = engine.asked
    assert asked["stream"] is True
    assert asked["logprobs"] == 1


def test_details_in_a_stream_of_tgi() -> None:
    parameters = {"details": True, "seed": 7, "return_full_text": True}
    *_, last = events_of(Completions(), parameters=parameters)
    assert last["generated_text"] == f"Hi{TEXT}"
    assert last["details"] == {
        "finish_reason": "length",
        "generated_tokens": 2,
        "seed": 7,
        "input_length": 3,
    }


@pytest.mark.usefixtures("lmi")
def test_stream_of_lmi() -> None:
    parameters = {"details": True}
    first, last = events_of(Completions(size=5), prefix="", parameters=parameters)
    assert first == {"token": {"id": -1, "text": " one", "log_prob": -0.5}}
    assert last == {
        "token": {"id": -1, "text": " two", "log_prob": -0.25},
        "generated_text": TEXT,
        "details": {"finish_reason": "length", "generated_tokens": 2, "inputs": "Hi"},
    }
    *_, last = events_of(Completions(), prefix="")
    assert last.keys() == {"token", "generated_text"}


def test_last_chunk_without_text_ends_with_a_special_token() -> None:
    ended = chunk("", finish_reason="stop", stop_reason="x")
    *_, last = events_of(Completions(events=[chunk(" one", -0.5), ended]))
    assert last["token"] == tgi_token("", None, special=True)
    assert last["generated_text"] == " one"


def test_chunk_of_several_tokens_is_several_events() -> None:
    events = [chunk(" a b", -1, -2), chunk(" c d", -3, -4, finish_reason="length")]
    found = events_of(Completions(events=events))
    assert [event["token"]["text"] for event in found] == [" a", " b", " c", " d"]
    assert [event["index"] for event in found] == [1, 2, 3, 4]


def test_chunk_whose_tokens_are_not_its_text_is_one_event() -> None:
    trimmed = chunk(" a b", -1, -2, text=" a", finish_reason="stop")
    hidden = chunk(" a", -1, text="")
    found = events_of(Completions(events=[hidden, chunk("a b"), trimmed]))
    tokens = [(event["token"]["text"], event["token"]["logprob"]) for event in found]
    assert tokens == [("a b", None), (" a", -2)]


def test_error_in_a_stream_of_tgi() -> None:
    failed = {"error": {"message": "It broke.", "code": 500}}
    first, last = events_of(Completions(events=[chunk(" one", -0.5), failed]))
    assert first["token"]["text"] == " one"
    assert last == {"error": "It broke.", "error_type": "generation"}


@pytest.mark.usefixtures("lmi")
def test_error_in_a_stream_of_lmi() -> None:
    failed = {"error": {"message": "It broke.", "code": 500}}
    [event] = events_of(Completions(events=[failed]), prefix="")
    assert event["details"]["finish_reason"] == "error"
    assert event["generated_text"] == ""
    assert event["token"]["special_token"] is True


def test_stream_that_ends_early_has_no_last_event() -> None:
    [event] = events_of(Completions(events=[chunk(" one", -0.5)]))
    assert event["generated_text"] is None


def test_stream_of_something_else_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fastapi.responses import StreamingResponse

    async def other() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]), media_type="text/plain")

    assert ask(TestClient(app_with(other)), stream=True).text == "ab"


# --- errors of the engine ------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content", "message", "kind"),
    [
        (400, {"error": {"message": "too long"}}, "too long", "validation"),
        (404, {"detail": "no model"}, "no model", "validation"),
        (429, {"detail": "busy"}, "busy", "overloaded"),
        (500, {}, "The request failed.", "generation"),
    ],
)
def test_error_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, status: int, content: Any, message: str, kind: str
) -> None:
    async def fail() -> Response:
        return JSONResponse(content, status)

    tgi = ask(TestClient(app_with(fail)))
    assert (tgi.status_code, tgi.json()["error"]) == (status, message)
    assert tgi.json()["error_type"] == kind
    monkeypatch.setenv("MHCS_DIALECT", "lmi")
    lmi = ask(TestClient(app_with(fail)))
    assert lmi.json() == {"error": message, "code": status}


def test_error_that_is_not_json() -> None:
    async def fail() -> Response:
        return PlainTextResponse("busy", 503)

    assert ask(TestClient(app_with(fail))).json()["error"] == "busy"


# --- what stays as it is -------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b'{"prompt": "inputs"}', b'{"prompt": "a", "x": {"inputs": 1}}', b"inputs"]
)
def test_other_requests_and_their_answers_stay(body: bytes) -> None:
    async def echo(request: Request) -> Response:
        return Response(b'{"choices": %b}' % body)

    answered = TestClient(app_with(echo)).post("/invocations", content=body)
    assert answered.content == b'{"choices": %b}' % body


def test_other_paths_stay(client: TestClient) -> None:
    assert client.get("/ping").json() == "engine's ping"
    response = client.post("/adapters", json={"inputs": "a"})
    assert "error_type" not in response.json()


def test_answer_of_another_form_stays() -> None:
    async def other() -> dict[str, int]:
        return {"mine": 1}

    assert answer(other) == {"mine": 1}

    async def text() -> Response:
        return PlainTextResponse("mine")

    assert ask(TestClient(app_with(text))).text == "mine"


def test_alias_route(monkeypatch: pytest.MonkeyPatch, engine: Completions) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    client = TestClient(app_with(engine))
    response = client.post("/predict", json={"inputs": "Hi"})
    assert response.json() == [{"generated_text": TEXT}]


def test_each_line_of_json_lines(
    monkeypatch: pytest.MonkeyPatch, engine: Completions
) -> None:
    client = TestClient(engine_app(engine, monkeypatch, max_concurrency=1))
    lines = ['{"inputs": "a"}', '{"prompt": "b"}', '{"inputs": "c", "x": 1}']
    response = client.post(
        "/invocations",
        content="\n".join(lines),
        headers={"content-type": "application/jsonlines"},
    )
    first, second, third = map(json.loads, response.text.splitlines())
    assert first == [{"generated_text": TEXT}]
    assert second["object"] == "text_completion"
    assert third["error"]["code"] == 400
    assert third["error"]["message"].startswith("x is not supported.")


def test_unknown_dialect_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_DIALECT", "triton")
    with pytest.raises(FormatterRegistrationError, match="MHCS_DIALECT='triton'"):
        app_with(Completions())
