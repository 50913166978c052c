"""Each format has every result, whatever a container has sent."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from check_reports import ATTACK, report_of, result_of
from mhcs.check.formats import FORMATS, SUFFIXES
from mhcs.check.formats.html_page import as_html
from mhcs.check.formats.json_document import as_json
from mhcs.check.formats.junit import as_junit
from mhcs.check.formats.latency_plot import latency_plot
from mhcs.check.formats.text import as_text
from mhcs.check.report import Report
from mhcs.check.verdict import Status

#: Elements without an end tag.
VOID = {"br", "meta"}


class Page(HTMLParser):
    """The elements of a page, which have to be closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_has_a_line_for_each_check() -> None:
    text = as_text(report_of())
    for status in Status:
        name = f"area-{status.value.replace(' ', '-')}"
        assert f"{status.value:<12} {name:<23} found\n" in text
    assert "promise: It is fail" in text
    assert "promise: It is pass" not in text
    assert "area-fail: see docs/reference/http.md#routes" in text
    assert "not removed: adapters left<b>" in text
    assert text.endswith(
        "4 checks in 2.0 s: 1 pass, 1 fail, 1 not offered, 1 skipped\n"
    )


def test_json_has_what_was_sent_and_what_came() -> None:
    document = json.loads(as_json(report_of()))
    assert document["counts"] == {"pass": 1, "fail": 1, "not offered": 1, "skipped": 1}
    assert document["not_removed"] == ["left<b>"]
    failed = document["checks"][1]
    assert failed["status"] == "fail"
    assert failed["documentation"] == "docs/reference/http.md#routes"
    assert failed["exchanges_omitted"] == 3
    [exchange] = failed["exchanges"]
    assert exchange["sent"] == "POST /invocations\nA: 1\n\nsent"
    assert exchange["came"].startswith("200 OK\n\n</pre><script>")


def test_junit_has_a_case_for_each_check() -> None:
    suites = ElementTree.fromstring(as_junit(report_of()))
    [suite] = suites
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "skipped": "2"}
    kinds = {case.get("name"): [child.tag for child in case] for case in suite}
    assert kinds == {
        "area-pass": [],
        "area-fail": ["failure"],
        "area-not-offered": ["skipped"],
        "area-skipped": ["skipped"],
    }
    failure = suite.find(".//failure")
    assert failure is not None
    assert "</pre><script>" in (failure.text or "")


@pytest.mark.parametrize("name", FORMATS)
def test_control_characters_are_in_no_format(name: str) -> None:
    assert "\x1b" not in FORMATS[name](report_of())


def test_page_is_well_formed_and_runs_nothing_of_the_container() -> None:
    page = Page(as_html(report_of()))
    assert "script" not in page.names
    assert {"table", "svg", "details", "h1"} <= {*page.names}
    assert ATTACK.replace("\x1b", "\\x1b") in page.text
    assert page.names.count("tr") == 1 + len(Status)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "left<b>" in page.text


def test_page_loads_nothing() -> None:
    page = Page(as_html(report_of()))
    loaded = [value for name, value in page.attributes if name in ("src", "href")]
    assert loaded == ["#area-fail"]


def test_page_links_to_published_documentation() -> None:
    page = Page(as_html(report_of(docs="https://docs.example/mhcs/")))
    links = [value for name, value in page.attributes if name == "href"]
    assert "https://docs.example/mhcs/reference/http.html#routes" in links


def test_page_without_failures_and_latencies_has_neither() -> None:
    page = Page(as_html(Report("http://host", "now", results=[result_of(Status.PASS)])))
    assert "Failed" not in page.text
    assert "Latencies" not in page.text


@pytest.mark.parametrize(
    ("seconds", "top"),
    [(0.0, "0.001"), (0.0009, "1"), (0.002, "2"), (0.0201, "25"), (7.0, "10000")],
)
def test_plot_s_axis_ends_at_a_round_number(seconds: float, top: str) -> None:
    plot = latency_plot("a", [0.0, seconds])
    assert f">{top} ms</text>" in plot
    assert plot.count("<rect") == 2


def test_formats_have_file_names() -> None:
    assert {*SUFFIXES.values()} == {*FORMATS}
