"""Whether arguments of pip name requirements, or are options alone."""

from __future__ import annotations

import shlex

import pytest

from model_hosting_container_standards.supervisor.pip_arguments import (
    has_option,
    names_requirements,
)


@pytest.mark.parametrize(
    "arguments",
    [
        "package",
        "package==1.0 --upgrade",
        "./folder",
        "https://host/package.whl",
        "-r file.txt",
        "-rfile.txt",
        "--requirement file.txt",
        "--requirement=file.txt",
        "-Uqr file.txt",
        "-e ./project",
        "--editable=./project",
        "--group dev",
        "--no-deps package",
        "-U package",
        "-i https://host/simple package",
        "-ihttps://host/simple package",
        "--index-url=https://host/simple package",
        "-c constraints.txt -r file.txt",
        "-- package",
    ],
)
def test_requirements_are_found(arguments: str) -> None:
    assert names_requirements(shlex.split(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--no-cache-dir",
        "-U --pre --no-deps",
        "-i https://host/simple",
        "--index-url https://host/simple --extra-index-url https://other/simple",
        "--index-url=https://host/simple",
        "-c constraints.txt",
        "-cconstraints.txt",
        "-Uc constraints.txt",
        "--find-links /wheels --no-index",
        "--timeout 5 --retries 0",
        "--no-binary package",
        "--option-of-a-later-release value",
        "-c ''",
        "--",
    ],
)
def test_options_alone_name_no_requirements(arguments: str) -> None:
    assert not names_requirements(shlex.split(arguments))


@pytest.mark.parametrize("word", ["-cfile", "-c", "--constraint", "--constraint=file"])
def test_option_is_found_in_each_form(word: str) -> None:
    assert has_option(["-q", word], "-c", "--constraint")


@pytest.mark.parametrize("word", ["-q", "--constraints", "c", "-f=-c"])
def test_other_words_are_not_the_option(word: str) -> None:
    assert not has_option([word], "-c", "--constraint")
