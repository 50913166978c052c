"""Requests of TGI and LMI: their parameters as OpenAI's fields of a completion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

#: Parameters whose field has the same name.
_SAME: Final = (
    "frequency_penalty",
    "include_stop_str_in_output",
    "min_p",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_token_ids",
    "temperature",
    "top_k",
    "top_p",
)
_FIELDS: Final[Mapping[str, str]] = {
    **{name: name for name in _SAME},
    "adapter_id": "model",
    "ignore_eos_token": "ignore_eos",
    "max_new_tokens": "max_tokens",
    "min_length": "min_tokens",
    "min_new_tokens": "min_tokens",
    "stop_sequences": "stop",
}
#: Parameters without a field: only this value is supported, which changes nothing.
_FIXED: Final[Mapping[str, object]] = {
    "best_of": 1,
    "decoder_input_details": False,
    "early_stopping": False,
    "length_penalty": 1,
    "n": 1,
    "num_beams": 1,
    "typical_p": 1,
    "watermark": False,
}
#: Parameters that are handled here.
_OWN: Final = ("details", "do_sample", "grammar", "return_full_text")
_KEYS: Final = ("adapters", "inputs", "model", "parameters", "stream")
#: Any of them means sampling instead of greedy decoding.
_SAMPLING: Final = ("min_p", "temperature", "top_k", "top_p")


class Call(msgspec.Struct, frozen=True):
    """What the answer depends on.

    ``is_list`` is true for several ``prompts`` in one request.
    """

    prompts: list[str]
    is_list: bool
    stream: bool
    details: bool
    full_text: bool
    seed: int | None


def read_call(document: Mapping[str, Any]) -> Call:
    """Return the call in a request's body.

    Raises:
        ValueError: the request is not supported; the text says what to change.
    """
    for key in document.keys() - set(_KEYS):
        raise ValueError(f"{key} is not supported. Supported: {', '.join(_KEYS)}.")
    inputs, stream = document["inputs"], bool(document.get("stream"))
    is_list = isinstance(inputs, list)
    prompts = inputs if is_list else [inputs]
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError("inputs must be a string, or a list of strings.")
    if is_list and stream:
        raise ValueError("inputs must be a string to be streamed, not a list.")
    parameters = parameters_in(document)
    return Call(
        prompts=prompts,
        is_list=is_list,
        stream=stream,
        details=bool(parameters.get("details")),
        full_text=bool(parameters.get("return_full_text")),
        seed=parameters.get("seed"),
    )


def parameters_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that are set; null is the same as unset.

    Raises:
        ValueError: they are not an object.
    """
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError("parameters must be an object.")
    return {name: value for name, value in parameters.items() if value is not None}


def completion(
    call: Call, document: Mapping[str, Any], default_max_tokens: int
) -> dict[str, Any]:
    """Return the body of the completion to ask the engine for.

    Raises:
        ValueError: a parameter is not supported.
    """
    parameters = parameters_in(document)
    fields = dict(_fields(parameters))
    fields.setdefault("max_tokens", default_max_tokens)
    fields.setdefault("temperature", 1 if _samples(parameters) else 0)
    model = document.get("adapters") or document.get("model")
    if model is not None:
        fields["model"] = model
    if call.stream or call.details:
        fields["logprobs"] = 1  # They come with the tokens.
    if call.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return {"prompt": call.prompts if call.is_list else call.prompts[0], **fields}


def _fields(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if name in _FIXED:
            _check_fixed(name, value)
        elif name == "grammar":
            yield "response_format", _response_format(value)
        elif name == "top_k" and value in (0, -1):
            pass  # It is off, which engines write differently.
        elif name in _FIELDS:
            yield _FIELDS[name], value
        elif name not in _OWN:
            supported = ", ".join(sorted((*_FIELDS, *_FIXED, *_OWN)))
            raise ValueError(
                f"parameters.{name} is not supported. Supported: {supported}."
            )


def _check_fixed(name: str, value: object) -> None:
    if value != _FIXED[name]:
        only = json.dumps(_FIXED[name])
        raise ValueError(f"parameters.{name} can only be {only} on this server.")


def _samples(parameters: Mapping[str, Any]) -> bool:
    names = ("do_sample", *_SAMPLING)
    return any(parameters.get(name) not in (None, False, 0, -1) for name in names)


def _response_format(grammar: Any) -> dict[str, Any]:
    if not isinstance(grammar, dict) or grammar.get("type") != "json":
        raise ValueError("parameters.grammar can only have the type json here.")
    schema = grammar.get("value")
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise ValueError(f"parameters.grammar is not JSON: {error}.") from None
    return {
        "type": "json_schema",
        "json_schema": {"name": "grammar", "schema": schema},
    }
