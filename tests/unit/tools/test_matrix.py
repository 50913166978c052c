"""The matrix says of a release what its tests have shown, and never more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from servers import UNMEASURED, run_until_exit
from venvs import ROOT

TOOL: Final = ROOT / "tools" / "matrix.py"
PAGE: Final = "Before\n<!-- matrix -->\nold\n<!-- /matrix -->\nAfter\n"
ON_0_32: Final = "vllm 0.32.0 CPU"
#: Suites whose tests the matrix knows by their names: all that one run can collect.
SUITES: Final = (
    (
        "tests/engines/real_vllm",
        "tests/contract/promises",
        "tests/engines/vllm/test_activation.py",
        "tests/engines/tensorrt_llm/test_activation.py",
        "tests/engines/vllm/test_old_import_paths.py",
    ),
    ("tests/engines/real_sglang", "gpu_tests"),
    ("tests/engines/real_ray",),
)

REAL_ADAPTERS: Final = "tests/engines/real_vllm/test_adapters.py"
REAL_SCRIPTS: Final = "tests/engines/real_vllm/test_customer_scripts.py"
PASSES: Final = "def test_it(): pass\n"
#: How a test can go on, other than well.
WORSE: Final = {
    "fails": "def test_other(): assert not 'well'",
    "cannot begin": "def test_other(no_such_fixture): pass",
    "cannot end": """
import pytest
@pytest.fixture
def broken():
    yield
    raise OSError
def test_other(broken): pass
""",
}
NOT_RUN: Final = {
    "is skipped": "import pytest\ndef test_it(): pytest.skip('no GPU')",
    "fails as it should": """
import pytest
@pytest.mark.xfail
def test_it(): assert not 'well'
""",
}


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # Plugins of pytest take longer to load than these tests to run, as coverage does.
    env = {**os.environ, **UNMEASURED, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, check=False, text=True
    )


class Project:
    """A page and results of its own, and runs of tests that look like ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page = folder / "compatibility.md"
        self.results = folder / "results.json"
        self.page.write_text(PAGE)
        self.results.write_text("[]")
        (folder / "pytest.ini").touch()

    def junit(self, files: dict[str, str], *options: str) -> str:
        """Run tests, which may fail, and return the path of their XML."""
        for name, source in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        xml = self.folder / "results.xml"
        modules = ["-m", "pytest", "--import-mode=importlib", *files]
        command = [sys.executable, *modules, f"--junitxml={xml}", *options]
        run(command, self.folder)
        return str(xml)

    def matrix(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        files = ("--page", str(self.page), "--results", str(self.results))
        command = [sys.executable, str(TOOL), *arguments, *files]
        return run(command, self.folder)

    def write(self, label: str, files: dict[str, str]) -> None:
        done = self.matrix("--run", label, self.junit(files))
        assert (done.returncode, done.stderr) == (0, "")

    def refuse(self, *arguments: str) -> str:
        """Return the error, after which everything must be as it was."""
        before = self.page.read_text(), self.results.read_text()
        done = self.matrix(*arguments)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert (self.page.read_text(), self.results.read_text()) == before
        return done.stderr

    def rows(self) -> dict[str, list[str]]:
        lines = self.page.read_text().splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
        return {row[0]: row for row in rows}

    def cell(self, row: str, column: str) -> str:
        rows = self.rows()
        return rows[row][rows["vLLM"].index(column)]

    def records(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = json.loads(self.results.read_text())
        return records


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def standin_test(module: str, name: str, *ids: str) -> dict[str, str]:
    mark = f"@pytest.mark.parametrize('start', {ids!r}, ids=str)"
    source = f"import pytest\n{mark}\ndef {name}(start): pass\n"
    return {f"tests/{module}.py": source}


# --- tests of an engine ------------------------------------------------------------


def test_what_passes_is_run_on_that_release_and_hardware(project: Project) -> None:
    project.write(ON_0_32, {REAL_ADAPTERS: PASSES})
    assert project.cell("0.32.0 CPU", "adapters") == "run"
    assert project.cell("0.32.0 CPU", "sessions") == "?"
    assert project.cell("0.28.0", "adapters") == "source"
    assert "0.32.0" not in project.rows()
    [record] = project.records()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record.pop("date"))
    assert record == {
        "engine": "vllm",
        "release": "0.32.0",
        "hardware": "CPU",
        "tests": {"adapters": {"passed": 1}},
    }


@pytest.mark.parametrize("other", WORSE.values(), ids=WORSE.keys())
def test_what_fails_is_never_run(project: Project, other: str) -> None:
    project.write(ON_0_32, {REAL_ADAPTERS: PASSES + other})
    assert project.cell("0.32.0 CPU", "adapters") == "failed"
    counts = project.records()[0]["tests"]["adapters"]
    assert counts["failed"] == 1


@pytest.mark.parametrize("source", NOT_RUN.values(), ids=NOT_RUN.keys())
def test_what_is_skipped_is_not_run(project: Project, source: str) -> None:
    project.write(ON_0_32, {REAL_ADAPTERS: source, REAL_SCRIPTS: PASSES})
    assert project.cell("0.32.0 CPU", "handlers") == "run"
    assert project.cell("0.32.0 CPU", "adapters") == "source"
    assert project.records()[0]["tests"]["adapters"] == {"skipped": 1}


def test_a_new_run_takes_the_place_of_the_old_one(project: Project) -> None:
    project.write("vllm 0.10.2 CPU", {REAL_ADAPTERS: PASSES})
    project.write(ON_0_32, {REAL_ADAPTERS: PASSES})
    project.write("vllm 0.32.0 H200", {REAL_ADAPTERS: PASSES})
    project.write(ON_0_32, {REAL_SCRIPTS: PASSES, REAL_ADAPTERS: WORSE["fails"]})
    assert len(project.records()) == 3
    assert project.cell("0.10.2 CPU", "adapters") == "run"
    assert project.cell("0.32.0 H200", "adapters") == "run"
    assert project.cell("0.32.0 CPU", "adapters") == "failed"
    assert project.cell("0.32.0 CPU", "handlers") == "run"


def test_before_vllm_calls_us_a_variable_lets_us_in(project: Project) -> None:
    unasked = "def test_all_clients_see_same_adapters(): pass\n"
    asked = "def test_ping_answers_get_head_and_post(): pass\n"
    files = {
        REAL_ADAPTERS: unasked,
        "tests/engines/real_vllm/test_engine_routes.py": asked,
    }
    project.write("vllm 0.11.0+cpu CPU", files)
    project.write("vllm 0.11.2 CPU", files)
    activations = "bootstrap", ".pth"
    assert [project.cell("0.11.0 CPU", activation) for activation in activations] == [
        "-",
        "run",
    ]
    assert [project.cell("0.11.2 CPU", activation) for activation in activations] == [
        "run",
        "source",
    ]


def test_an_engine_has_those_of_the_gpu_tests_that_name_it(project: Project) -> None:
    source = """
import pytest
@pytest.fixture(params=["vllm", "trtllm-serve"])
def engine(request): return request.param
@pytest.mark.parametrize("processes", ["one process"])
def test_texts(engine, processes): assert engine == "trtllm-serve"
"""
    xml = project.junit({"gpu_tests/test_promises.py": source})
    for label in ("vllm 0.32.0 H200", "tensorrt-llm 1.2.0 H200"):
        assert project.matrix("--run", label, xml).returncode == 0
    assert project.cell("0.32.0 H200", "adapters") == "failed"
    assert project.cell("1.2.0 H200", "adapters") == "run"
    assert "1.2" not in project.rows()


def test_tests_in_several_processes_show_the_same(project: Project) -> None:
    group = "import pytest\n@pytest.mark.xdist_group('a b/c')\n"
    files = standin_test(
        "engines/vllm/test_activation", "test_routes_are", "v0_10-mhcs run"
    )
    files |= {REAL_ADAPTERS: group + PASSES + WORSE["fails"]}
    workers = ("-p", "xdist.plugin", "--numprocesses=1", "--dist=loadgroup")
    xml = project.junit(files, *workers)
    assert project.matrix("--run", ON_0_32, xml).returncode == 0
    assert project.cell("0.32.0 CPU", "adapters") == "failed"
    assert project.cell("0.10.2", "mhcs run") == "stand-in"


def test_several_files_may_belong_to_one_run(project: Project, tmp_path: Path) -> None:
    first = Path(project.junit({REAL_ADAPTERS: PASSES}))
    other = str(first.rename(tmp_path / "first.xml"))
    second = project.junit({REAL_SCRIPTS: PASSES})
    assert project.matrix("--run", ON_0_32, other, second).returncode == 0
    columns = "adapters", "handlers"
    assert {project.cell("0.32.0 CPU", column) for column in columns} == {"run"}


def test_a_test_that_was_run_again_counts_as_in_the_last_file(
    project: Project, tmp_path: Path
) -> None:
    failing = Path(project.junit({REAL_ADAPTERS: "def test_it(): assert not 'well'\n"}))
    first = str(failing.rename(tmp_path / "first.xml"))
    again = project.junit({REAL_ADAPTERS: PASSES})
    assert project.matrix("--run", ON_0_32, first, again).returncode == 0
    assert project.cell("0.32.0 CPU", "adapters") == "run"
    assert project.matrix("--run", ON_0_32, again, first).returncode == 0
    assert project.cell("0.32.0 CPU", "adapters") == "failed"


# --- tests of stand-ins ------------------------------------------------------------


def test_a_stand_in_shows_the_releases_that_are_laid_out_so(project: Project) -> None:
    ids = ("v0_10-import mhcs.auto", "v0_28-its own call and MHCS_AUTO=1")
    name = "test_customers_ping_handler_answers"
    project.write("stand-ins", standin_test("engines/vllm/test_activation", name, *ids))
    assert project.cell("0.6.6", "hook") == "source"
    for release in ("0.8.5", "0.10.2", "0.11.0"):
        assert project.cell(release, "hook") == "stand-in"
        assert project.cell(release, "bootstrap") == "-"
    for release in ("0.11.2", "0.28.0"):
        assert project.cell(release, "bootstrap") == "stand-in"
        assert project.cell(release, ".pth") == "source"
        assert project.cell(release, "handlers") == "stand-in"
    assert project.cell("0.32.0", "bootstrap") == "source"


def test_a_stand_in_fills_in_for_what_was_not_run(project: Project) -> None:
    name = "test_customers_ping_handler_answers"
    door = standin_test("engines/vllm/test_activation", name, "v0_29-mhcs run")
    project.write(ON_0_32, {**door, REAL_ADAPTERS: PASSES})
    assert project.cell("0.32.0 CPU", "mhcs run") == "stand-in"
    assert project.cell("0.32.0 CPU", "handlers") == "stand-in"
    project.write(ON_0_32, {REAL_ADAPTERS: PASSES, REAL_SCRIPTS: WORSE["fails"]})
    assert project.cell("0.32.0 CPU", "mhcs run") == "stand-in"
    assert project.cell("0.32.0 CPU", "handlers") == "failed"


def test_the_promises_are_kept_for_each_tensorrt_llm(project: Project) -> None:
    ids = ("trtllm_0_17-one process", "trtllm_main-two processes")
    project.write(
        "stand-ins", standin_test("contract/promises/test_a", "test_texts", *ids)
    )
    assert project.cell("0.17", "adapters") == "-"
    assert project.cell("1.3", "two processes") == "-"
    assert project.cell("main", "adapters") == "stand-in"
    assert project.cell("main", "two processes") == "stand-in"


# --- the page ----------------------------------------------------------------------


def test_a_page_that_is_not_what_the_results_give_is_found(project: Project) -> None:
    assert "write it with `python tools/matrix.py`" in project.refuse("--check")
    assert project.matrix().returncode == 0
    text = project.page.read_text()
    assert text.startswith("Before\n<!-- matrix -->\n\n| vLLM |")
    assert text.endswith("\n\n<!-- /matrix -->\nAfter\n")
    assert project.matrix("--check").returncode == 0
    assert project.page.read_text() == text

    project.page.write_text(text.replace("| source |", "| run |", 1))
    assert "does not match" in project.refuse("--check")
    project.page.write_text(text)
    entry = {"engine": "vllm", "release": "0.33.0", "hardware": "CPU"}
    tests = {"adapters": {"passed": 1}}
    entries = [{**entry, "date": "2026-11-23", "tests": tests}]
    project.results.write_text(json.dumps(entries))
    assert "does not match" in project.refuse("--check")


@pytest.mark.parametrize(
    "text", ["", "<!-- matrix -->", "<!-- /matrix --><!-- matrix -->"]
)
def test_a_page_without_a_place_for_it_is_an_error(project: Project, text: str) -> None:
    project.page.write_text(text)
    xml = project.junit({REAL_ADAPTERS: PASSES})
    for arguments in ((), ("--check",), ("--run", ON_0_32, xml)):
        error = project.refuse(*arguments)
        assert f"{project.page} has no place for the matrix" in error
        assert "insert the lines <!-- matrix --> and <!-- /matrix -->" in error


# --- what cannot be used -----------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "null", "[1]", '{"a": 1}', '[{"engine": "vllm"}]']
)
def test_broken_results_are_an_error(project: Project, text: str) -> None:
    project.results.write_text(text)
    assert f"{project.results} is not a list of runs" in project.refuse()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not valid XML: no element found"),
        ("<testsuites><testsuite timestamp='2026-11-23'>", "is not valid XML"),
        ("<html></html>", "is not what `pytest --junitxml="),
    ],
)
def test_broken_xml_is_an_error(project: Project, text: str, reason: str) -> None:
    xml = project.folder / "broken.xml"
    xml.write_text(text)
    assert f"{xml} {reason}" in project.refuse("--run", ON_0_32, str(xml))


def test_a_file_that_is_not_there_is_an_error(project: Project) -> None:
    error = project.refuse("--run", ON_0_32, "nowhere.xml")
    assert error == "nowhere.xml cannot be read: No such file or directory.\n"


@pytest.mark.parametrize(
    "label",
    ["0.32.0", "vllm CPU", "vllm 0.32.0", "triton 1.0 CPU", "vllm 1.0 stand-in"],
)
def test_a_label_that_does_not_say_it_is_an_error(project: Project, label: str) -> None:
    error = project.refuse("--run", label, "results.xml")
    assert f"{label!r} does not say what was run" in error
    assert (
        "as in 'vllm 0.10.2 CPU'; engines are vllm, sglang, tensorrt-llm, ray" in error
    )


def test_a_label_that_the_tests_contradict_is_an_error(project: Project) -> None:
    source = "def test_it(record_property): record_property('vllm', '0.32.0+cpu')"
    xml = project.junit({REAL_ADAPTERS: source}, "-p", "no:warnings")
    assert project.matrix("--run", ON_0_32, xml).returncode == 0
    error = project.refuse("--run", "vllm 0.10.2 CPU", xml)
    assert f"{xml} is of vllm 0.32.0, and not of 0.10.2 as its label says" in error


@pytest.mark.parametrize(
    ("label", "others"),
    [
        (
            ON_0_32,
            standin_test(
                "engines/vllm/test_activation", "test_routes_are", "v0_6-mhcs run"
            ),
        ),
        ("tensorrt-llm 1.2.0 H200", {}),
        ("stand-ins", {}),
    ],
)
def test_a_run_that_shows_nothing_leaves_the_old_one(
    project: Project, label: str, others: dict[str, str]
) -> None:
    project.write(ON_0_32, {REAL_ADAPTERS: PASSES})
    xml = project.junit({REAL_ADAPTERS: NOT_RUN["is skipped"], **others})
    error = project.refuse("--run", label, xml)
    assert f"--run {label!r}: no test of that ran in {xml}" in error
    assert "ran in no file" in project.refuse("--run", label)


def test_tests_that_could_not_be_imported_are_an_error(project: Project) -> None:
    files = {REAL_ADAPTERS: PASSES, REAL_SCRIPTS: "import no_such_module"}
    options = ("--continue-on-collection-errors",)
    error = project.refuse("--run", ON_0_32, project.junit(files, *options))
    assert "could not import tests.engines.real_vllm.test_customer_scripts" in error


def test_a_stand_in_of_unknown_releases_is_an_error(project: Project) -> None:
    xml = project.junit(
        standin_test("engines/vllm/test_activation", "test_routes_are", "v9_0-mhcs run")
    )
    error = project.refuse("--run", "stand-ins", xml)
    assert "releases of stand-in v9_0 are not in tools/matrix_tables.py" in error


# --- our own tests -----------------------------------------------------------------


def test_each_pattern_is_of_tests_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import matrix_tables as tables

    names = [name for paths in SUITES for name in collected(*paths)]
    patterns = [*tables.SHOWN, *tables.SHOWN_UNASKED, *tables.SHOWN_PATCHED]
    unused = [p for p in patterns if not any(re.match(p, name) for name in names)]
    assert not unused
    unknown = [p for p in tables.REAL if not any(re.match(p, name) for name in names)]
    assert not unknown
    found = [re.search(tables.STAND_IN_ID, name) for name in names]
    assert {match[1] for match in found if match} == {*tables.STAND_INS}


def collected(*paths: str) -> list[str]:
    """Return the names of tests as the XML has them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *paths]
    env = {**os.environ, **UNMEASURED}
    end = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, check=True, text=True
    )
    ids = [line.partition(".py::") for line in end.stdout.splitlines()]
    return [f"{path.replace('/', '.')}::{name}" for path, found, name in ids if found]


def test_the_page_has_what_the_results_give() -> None:
    end = run_until_exit([sys.executable, TOOL, "--check"])
    assert end.status == 0, end.stderr
