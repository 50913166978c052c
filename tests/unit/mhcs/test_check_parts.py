"""Addresses, bodies, texts and the selection of ``mhcs check``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from documentation import DOCS, anchors
from mhcs.check.address import parse_address
from mhcs.check.body import CANDIDATES, given_body, json_body
from mhcs.check.checks import CHECKS
from mhcs.check.exchange import Exchange, cut, excerpt, hide
from mhcs.check.expect import documents, events
from mhcs.check.printable import printable
from mhcs.check.selection import check_formats, find_adapters, select_checks


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("http://localhost", "http://localhost:80"),
        ("https://host/prefix/", "https://host:443/prefix"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://host/é%20", "http://host:80/%C3%A9%20"),
    ],
)
def test_address_is_completed(url: str, address: str) -> None:
    assert parse_address(url).url == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host", "ftp:// is neither http:// nor https://"),
        ("http://", "there is no host"),
        ("", "there is no host"),
        ("http://user:password@host", "give only .* and --api-key"),
        ("http://host?a=1", "give only scheme, host, port and path"),
        ("http://host/a b", "white space"),
        ("http://host:many", "Port could not be cast"),
        ("http://host:99999", "Port out of range"),
        ("http://[::1", "Invalid IPv6 URL"),
    ],
)
def test_wrong_address_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(url)


@pytest.mark.parametrize("kind", CANDIDATES)
def test_prompt_and_tokens_of_a_body_can_be_changed(kind: str) -> None:
    body = json_body(CANDIDATES[kind])
    assert body.kind == kind
    assert b"longer text" in body.with_prompt("longer text").content
    assert b"77" in body.with_tokens(77).content
    assert body.with_tokens(77).kind == kind


@pytest.mark.parametrize("parameters", [b"null", b"[1]", b'"text"'])
def test_parameters_that_are_not_an_object_are_replaced(parameters: bytes) -> None:
    content = b'{"inputs": "hello", "parameters": %s}' % parameters
    body = given_body(content, "application/json").with_tokens(77)
    assert body.document == {"inputs": "hello", "parameters": {"max_new_tokens": 77}}


def test_body_of_another_kind_has_no_document() -> None:
    assert given_body(b"a,b", "text/csv").document is None
    assert given_body(b"[1]", "application/json").document is None
    assert given_body(b'{"a": 1}', "application/json").kind is None


def test_long_texts_are_cut() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "abc… (1 more characters)"


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\r", "\x9b", "\u202e", "\ud800"]
)
def test_characters_that_change_a_terminal_are_escaped(character: str) -> None:
    text = printable(f"a{character}b\n\té")
    assert re.fullmatch(r"a\\[xu][0-9a-f]{2,4}b\n\té", text)


def test_key_is_hidden_where_it_would_be_cut_too() -> None:
    exchange = Exchange("GET", "/", {"Authorization": "Bearer key-key"}, b"")
    exchange.answer.extend(b"x" * 396 + b"key-key")
    exchange.answer_headers.append(("X-Echo", "x" * 396 + "key-key"))
    exchange.answer_headers.append(("Set-Cookie", "other"))
    shown = excerpt(exchange, "key-key")
    assert "key" not in shown.sent + shown.came
    assert "Authorization: ***" in shown.sent
    assert "Set-Cookie: ***" in shown.came


@pytest.mark.parametrize("shown", [4, 5, 14, 15])
def test_beginning_of_a_key_before_a_cut_is_hidden(shown: int) -> None:
    """What a check finds is cut before the key is known."""
    finding = f"not JSON: {cut('Wrong key: a-secret-key-01.', 11 + shown)!r}"
    assert "a-se" in finding
    hidden = hide(finding, "a-secret-key-01")
    assert hidden.startswith("not JSON: 'Wrong key: ***… (")


def test_short_key_is_hidden_as_a_word() -> None:
    assert hide("k token Bearer k", "k") == "*** token Bearer ***"
    assert hide("a+b", "a+b") == "***"
    assert hide("k", None) == "k"


def test_every_check_s_page_has_its_heading() -> None:
    for check in CHECKS:
        page, _, anchor = check.page.partition("#")
        assert not anchor or anchor in anchors(DOCS / page), check.page


def test_names_are_unique_and_begin_with_their_area() -> None:
    names = [check.name for check in CHECKS]
    assert len({*names}) == len(names)
    assert all(re.fullmatch(r"[a-z]+-[a-z]+", name) for name in names)
    assert CHECKS[-1].area == "drain"


def test_checks_are_selected_by_name_and_area() -> None:
    chosen = select_checks(CHECKS, ["ping", "models-list"], ["ping-times"])
    names = [check.name for check in chosen]
    assert "models-list" in names
    assert "ping-answers" in names
    assert "ping-times" not in names
    assert select_checks(CHECKS, [], []) == [*CHECKS]


def test_unknown_check_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="no check 'ping-time'; there is ping-times"):
        select_checks(CHECKS, [], ["ping-time"])
    with pytest.raises(ValueError, match="there is .*adapters, .*streams"):
        select_checks(CHECKS, ["1234"], [])


def test_adapters_of_a_folder_are_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no adapter"):
        find_adapters(tmp_path)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").touch()
    found = find_adapters(tmp_path)
    assert found == {name: str(tmp_path / name) for name in ("a", "b")}
    assert find_adapters(tmp_path / "a") == {"a": str(tmp_path / "a")}


def test_files_of_unknown_formats_and_folders_are_refused(tmp_path: Path) -> None:
    check_formats([tmp_path / "a.html"], [".html"])
    with pytest.raises(ValueError, match=r"a\.pdf ends in none of \.html"):
        check_formats([tmp_path / "a.pdf"], [".html"])
    with pytest.raises(ValueError, match="missing is not a folder"):
        check_formats([tmp_path / "missing" / "a.html"], [".html"])


@pytest.mark.parametrize(
    ("media_type", "form"),
    [("text/event-stream", "data: {}\r\n\r\n"), ("application/jsonlines", "{}\n")],
)
def test_text_with_unicode_line_separators_is_one_event(
    media_type: str, form: str
) -> None:
    text = "a\u2028b\u2029c\x85d"
    exchange = Exchange("POST", "/invocations", {}, b"", 200)
    exchange.answer_headers.append(("Content-Type", media_type))
    event = json.dumps({"text": text}, ensure_ascii=False)
    exchange.answer.extend((form.format(event) * 2).encode())
    assert documents(events(exchange)) == [{"text": text}] * 2
