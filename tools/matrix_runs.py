"""Reads pytest's results per engine and column, for ``matrix.py``."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from matrix_tables import (
    CALL_US,
    ENGINES,
    MAIN,
    REAL,
    SHOWN,
    SHOWN_PATCHED,
    SHOWN_UNASKED,
    STAND_IN,
    STAND_IN_ID,
    STAND_INS,
    Span,
)

ONLY_STAND_INS = "stand-ins"
LABEL = re.compile(rf"({'|'.join(ENGINES)}) (\d+(?:\.\d+)+\S*|{MAIN}) (\S.*)")


class Target(NamedTuple):
    """An engine release on some hardware, which is ``STAND_IN`` for a stand-in."""

    engine: str
    release: str
    hardware: str


class Run(NamedTuple):
    """The number of tests of each column that passed, failed and were skipped."""

    date: str
    tests: Mapping[str, Mapping[str, int]]


class Case(NamedTuple):
    """A test of a run, by the name that ``matrix_tables`` uses."""

    file: str
    name: str
    outcome: str
    properties: Mapping[str, str]


Runs = dict[Target, Run]
Counts = dict[Target, dict[str, Counter[str]]]


def condense(label: str, files: Sequence[str]) -> Runs:
    """Return the results for the engine that the label names, and for stand-ins.

    Labels are, for example, ``"vllm 0.10.2 CPU"``, or ``"stand-ins"`` without a real
    engine. A test that was run again counts as in the last of the files.
    """
    named = parse_label(label)
    suites = {file: read_suite(file) for file in files}
    counts: Counts = {}
    cases = [case for item in suites.items() for case in read_cases(*item)]
    for case in {case.name: case for case in cases}.values():
        count(case, named, counts)
    expect_something(label, named, counts, files)
    date = max(suite.attrib["timestamp"][:10] for suite in suites.values())
    # Sorted, so that the same results give the same file.
    return {on: Run(date, dict(sorted(tests.items()))) for on, tests in counts.items()}


def parse_label(label: str) -> Target | None:
    if label == ONLY_STAND_INS:
        return None
    if match := LABEL.fullmatch(label):
        engine, release, hardware = match.groups()
        if hardware != STAND_IN:
            return Target(engine, public(release), hardware)
    raise SystemExit(
        f"{label!r} does not say what was run: write {ONLY_STAND_INS!r}, or ENGINE "
        f"RELEASE HARDWARE as in 'vllm 0.10.2 CPU'; engines are {', '.join(ENGINES)}."
    )


def expect_something(
    label: str, named: Target | None, counts: Counts, files: Sequence[str]
) -> None:
    """Raise if the run has no results, so that it does not replace an older one."""
    tests = [counts.get(named, {})] if named else counts.values()
    ran = sum((sum(columns.values(), Counter()) for columns in tests), Counter[str]())
    if not ran["passed"] + ran["failed"]:
        raise SystemExit(
            f"--run {label!r}: no test of that ran in {', '.join(files) or 'no file'}. "
            "Name the XML of its run; `pytest -rs` says why tests were skipped."
        )


# --- releases ----------------------------------------------------------------------


def public(release: str) -> str:
    """Return the release without its local version: 0.32.0 of 0.32.0+cpu."""
    return release.partition("+")[0]


def version(release: str) -> tuple[int, ...]:
    """Return the sort key of a release."""
    if release == MAIN:
        return (9999,)
    numbers = re.match(r"[\d.]*\d", release)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def contains(span: Span, target: Target) -> bool:
    first, below = version(span.first), version(span.below)
    same_engine = span.engine == target.engine
    return same_engine and first <= version(target.release) < below


def stand_in(name: str) -> Target:
    """Return the target of a folder of ``tests/support/standins``."""
    if name not in STAND_INS:
        raise SystemExit(
            f"The releases of stand-in {name} are not in tools/matrix_tables.py: add "
            "them to STAND_INS."
        )
    release = re.sub(r"^(v|trtllm_)", "", name).replace("_", ".")
    return Target(STAND_INS[name].engine, release, STAND_IN)


# --- tests -------------------------------------------------------------------------


def read_suite(file: str) -> ElementTree.Element:
    try:
        suite = ElementTree.parse(file).find("testsuite")
    except OSError as error:
        raise SystemExit(f"{file} cannot be read: {error.strerror}.") from None
    except ElementTree.ParseError as error:
        raise SystemExit(f"{file} is not valid XML: {error}.") from None
    if suite is None or "timestamp" not in suite.attrib:
        raise SystemExit(f"{file} is not what `pytest --junitxml={file}` writes.")
    return suite


def read_cases(file: str, suite: ElementTree.Element) -> Iterator[Case]:
    for case in suite.iterfind("testcase"):
        module, name = case.attrib["classname"], case.attrib["name"]
        if not module:
            raise SystemExit(
                f"{file}: pytest could not import {name}, and its tests are missing. "
                "Correct that and run them again."
            )
        recorded = [known.attrib for known in case.iterfind("properties/property")]
        properties = {known["name"]: known["value"] for known in recorded}
        yield Case(file, f"{module}::{name}", outcome(case), properties)


def outcome(case: ElementTree.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def count(case: Case, named: Target | None, counts: Counts) -> None:
    target = target_of(case, named)
    if target is None:
        return
    for column in columns_of(case, target):
        columns = counts.setdefault(target, {})
        columns.setdefault(column, Counter())[case.outcome] += 1


def target_of(case: Case, named: Target | None) -> Target | None:
    if match := re.search(STAND_IN_ID, case.name):
        return stand_in(match[1])
    engines = {engine for real, engine in REAL.items() if re.match(real, case.name)}
    if named is None or named.engine not in engines:
        return None
    expect_agreement(case, named)
    return named


def expect_agreement(case: Case, named: Target) -> None:
    """Raise if a test recorded another release than the label names."""
    recorded = public(case.properties.get(named.engine, named.release))
    if recorded != named.release:
        raise SystemExit(
            f"{case.file} is of {named.engine} {recorded}, and not of {named.release} "
            "as its label says."
        )


def columns_of(case: Case, target: Target) -> set[str]:
    more = SHOWN_UNASKED if contains(CALL_US, target) else SHOWN_PATCHED
    tables = [*SHOWN.items(), *more.items()]
    shown = [columns for pattern, columns in tables if re.match(pattern, case.name)]
    return {column for columns in shown for column in columns}
