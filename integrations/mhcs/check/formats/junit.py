"""A report as JUnit's XML, which most CI systems read."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..report import Report, Result
from ..verdict import Status


def as_junit(report: Report) -> str:
    """Return a test suite; what is not offered or skipped is a skipped test case."""
    counts = report.counts
    skipped = counts[Status.NOT_OFFERED.value] + counts[Status.SKIPPED.value]
    numbers = {
        "tests": len(report.results),
        "failures": counts[Status.FAIL.value],
        "errors": 0,
        "skipped": skipped,
    }
    attributes = {name: str(number) for name, number in numbers.items()}
    suites = Element("testsuites")
    suite = SubElement(suites, "testsuite", {"name": "mhcs check", **attributes})
    suite.set("timestamp", report.started)
    suite.set("time", f"{report.seconds:.3f}")
    for result in report.results:
        _add_case(suite, report, result)
    indent(suites)
    return tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _add_case(suite: Element, report: Report, result: Result) -> None:
    check = result.check
    case = SubElement(suite, "testcase", {"name": check.name})
    case.set("classname", f"mhcs.check.{check.area}")
    case.set("time", f"{result.seconds:.3f}")
    if result.status is Status.FAIL:
        failure = SubElement(case, "failure", {"message": result.finding})
        failure.text = _details(report, result)
    elif result.status is not Status.PASS:
        message = f"{result.status.value}: {result.finding}"
        SubElement(case, "skipped", {"message": message})


def _details(report: Report, result: Result) -> str:
    exchanges = [f"{shown.sent}\n\n{shown.came}" for shown in result.excerpts]
    link = report.documentation(result.check)
    return "\n\n".join([result.check.title, link, *exchanges])
