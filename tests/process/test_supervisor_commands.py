"""Commands pass through supervisord's configuration byte for byte."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import read_settings
from model_hosting_container_standards.settings.service_links import is_service_link
from model_hosting_container_standards.supervisor.command_line import (
    comment_on,
    decode,
    encode,
)
from model_hosting_container_standards.supervisor.configuration import configure
from model_hosting_container_standards.supervisor.overrides import find_ignored
from servers import run_until_exit
from supervised import SUPERVISOR

MODULE: Final = decode.__module__
GENERATE: Final = Path(sys.executable).with_name("generate-supervisor-config")
HOSTILE: Final = [
    "",
    " ",
    "  two  spaces  ",
    "\t",
    "line\nend",
    "carriage\rreturn",
    "100%",
    "%(ENV_HOME)s",
    "%%",
    "a;b",
    "a ; b",
    ";",
    "#",
    "a # b",
    "'",
    '"',
    "it's",
    'say "hi"',
    "\\",
    "\\n",
    "$HOME",
    "`id`",
    "$(id)",
    "*",
    "~",
    "--option=a b",
    '{"json": ["a", 1]}',
    "[section]",
    "key = value",
    "é\u2603\U0001f600",
    os.fsdecode(b"\xff\xfe"),
    "a" * 5000,
]


def argv_of(text: str, folder: Path) -> list[str]:
    """Return the command that supervisord reads from a configuration."""
    file = folder / "supervisord.conf"
    file.write_bytes(os.fsencode(text))
    options = ServerOptions()
    options.realize(["-c", str(file), "-n"])
    [group] = options.process_group_configs
    words = shlex.split(group.process_configs[0].command)
    return decode(words[3:]) if MODULE in words else words


def configuration(command: list[str], **environ: str) -> str:
    pid_file = Path(tempfile.gettempdir(), "100%.pid")
    return configure(command, read_settings(), environ, pid_file=pid_file)


@pytest.mark.parametrize("argument", HOSTILE, ids=range(len(HOSTILE)))
def test_argument_is_unchanged(tmp_path: Path, argument: str) -> None:
    for command in (["echo", argument], [argument, "x"]):
        assert argv_of(configuration(command), tmp_path) == command


# Arguments may contain bytes that are not UTF-8, but no null bytes.
ARGUMENTS: Final = st.binary(max_size=40).map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b""))
)


#: Characters that have a meaning to supervisord's parser, or are white space to it.
SYNTAX: Final = st.text(
    "\n\t \x0b\x1c\x1f\x85\xa0\u2003;#%()'\"\\=:[]${}ah", max_size=12
) | st.from_regex(r"%*\(here\)[sd]|\n *;a *\n|%\(ENV_[A-Z]+\)s", fullmatch=True)
ANY_ARGUMENT: Final = ARGUMENTS | SYNTAX | st.sampled_from(HOSTILE)


@settings(deadline=None)
@given(st.lists(ANY_ARGUMENT, min_size=1, max_size=6))
def test_any_command_passes_through_supervisords_parser(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert argv_of(configuration(command), Path(folder)) == command


@settings(deadline=None)
@given(st.lists(SYNTAX, min_size=1, max_size=6))
def test_command_that_quotes_can_keep_is_not_encoded(command: list[str]) -> None:
    text = configuration(command)
    assert MODULE not in text
    # Apart from the percent signs, it is what a shell would take.
    assert shlex.split(value_of(text).replace("%%", "%")) == command


def value_of(text: str) -> str:
    """Return the command of a configuration, without the indentation of its lines."""
    [_, rest] = text.split("\ncommand = ")
    return rest.partition("\nautostart")[0].replace("\n ", "\n")


@settings(deadline=None)
@given(st.lists(ARGUMENTS | st.sampled_from(HOSTILE), min_size=1, max_size=6))
def test_encoded_command_needs_no_quotes(command: list[str]) -> None:
    words = encode(command)
    assert all(word.isascii() for word in words)
    assert not set("".join(words)) & set(" \t\n%;#'\"\\$")
    assert decode(words) == command


@pytest.mark.parametrize("argument", ["a\rb", os.fsdecode(b"\xff")])
def test_encoded_command_has_a_comment(tmp_path: Path, argument: str) -> None:
    text = configuration(["echo", "100%", argument])
    [comment, command] = [
        line for line in text.splitlines() if "base64" in line or MODULE in line
    ]
    assert comment.startswith("; In base64, as no quotes keep a carriage return")
    assert comment.endswith(ascii(["echo", "100%", argument]))
    assert command.startswith(f"command = {sys.executable} -m {MODULE} ")
    assert argv_of(text, tmp_path) == ["echo", "100%", argument]


@pytest.mark.parametrize(
    "arguments",
    [HOSTILE, [argument for argument in HOSTILE if comment_on([argument]) is None]],
    ids=["encoded", "quoted"],
)
def test_all_arguments_reach_a_real_process(arguments: list[str]) -> None:
    show = "import os, sys; print(*[os.fsencode(a).hex() for a in sys.argv[1:]])"
    end = run_until_exit([SUPERVISOR, sys.executable, "-c", show, *arguments])
    assert end.status == 0, end.stderr
    expected = " ".join(os.fsencode(argument).hex() for argument in arguments)
    assert expected in end.stdout.splitlines()


@pytest.mark.parametrize(
    "long",
    [
        ["%" + "a" * 99_999],
        ["%" * 131_071],  # The longest argument that Linux allows.
        [f"{number} {'é' * 100}" for number in range(1500)],
        ["a" * 131_071, *["a" * 100] * 3000],
    ],
    ids=["one", "the longest", "many", "one and many"],
)
def test_long_arguments_reach_a_real_process(tmp_path: Path, long: list[str]) -> None:
    write = "import os, sys; open(sys.argv[1], 'w').write(ascii(sys.argv[2:]))"
    file = tmp_path / "arrived"
    end = run_until_exit([SUPERVISOR, sys.executable, "-c", write, file, *long])
    assert end.status == 0, end.stderr
    assert file.read_text() == ascii(long)


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("--port=8080", "--port=8080"),
        ("100%", "100%%"),
        ("%(here)s", "%%'(here)s'"),
        ('{"r": 16}', """'{"r": 16}'"""),
        ("it's", """'it'"'"'s'"""),
        ("a;b", "'a;b'"),
        ("a ;b", "'a '';b'"),
        ("", "''"),
        ("a\n  b", "a'\n ''  b'"),
        ("caf\u00e9", "'caf\u00e9'"),
    ],
)
def test_command_is_written_as_for_a_shell(argument: str, written: str) -> None:
    text = configuration(["vllm", "serve", argument, "x"])
    assert f"\ncommand = vllm serve {written} x\n" in text
    assert ";" not in text.replace(";b", "")


# --- environment variables ---------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "section", "line"),
    [
        ("SUPERVISOR_PROGRAM__APP_STARTSECS", "program:app", "startsecs"),
        (
            "SUPERVISOR_PROGRAM__APP_STDOUT_LOGFILE_MAXBYTES",
            "program:app",
            "stdout_logfile_maxbytes",
        ),
        ("SUPERVISOR_PROGRAM__LOG_SHIPPER_COMMAND", "program:log_shipper", "command"),
        ("SUPERVISOR_SUPERVISORD_LOGLEVEL", "supervisord", "loglevel"),
        ("SUPERVISOR_UNIX_HTTP_SERVER_FILE", "unix_http_server", "file"),
        ("SUPERVISOR_INET_HTTP_SERVER_PORT", "inet_http_server", "port"),
    ],
)
def test_variable_sets_key(name: str, section: str, line: str) -> None:
    text = configuration(["x"], **{name: "7"})
    [block] = [b for b in text.split("\n\n") if b.startswith(f"[{section}]\n")]
    assert f"\n{line} = 7" in block
    assert block.count(f"\n{line} = ") == 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (
            "SUPERVISOR_PROGRAM__APP_STOPWAITSEC",
            "7",
            "as in SUPERVISOR_PROGRAM__APP_STOPWAITSECS",
        ),
        (
            "SUPERVISOR_UNIX_HTTP_SERVER_SOCKET_FILE",
            "/run/s",
            "write a section and a key",
        ),
        (
            "SUPERVISOR_INET_HTTP_SERVER_PASSWRD",
            "7",
            "as in SUPERVISOR_INET_HTTP_SERVER_PASSWORD",
        ),
        ("SUPERVISOR_PROGRAM_APP_STARTSECS", "7", "write a section and a key"),
        ("SUPERVISOR_PROGAM__APP_STARTSECS", "7", "write a section and a key"),
        ("SUPERVISOR_INCLUDE_FILES", "/etc/*", "write a section and a key"),
        ("SUPERVISOR_PROGRAM__APP_USER", "7\n[x]", "takes one line"),
    ],
)
def test_unknown_key_is_an_error(name: str, value: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        configuration(["x"], **{name: value})
    assert f"{name} is not allowed" in str(raised.value)
    assert repr(value) not in str(raised.value)


#: The suffixes and values of the variables that Kubernetes sets for a service.
LINKS: Final = {
    "SERVICE_HOST": "10.0.0.9",
    "SERVICE_PORT": "9001",
    "SERVICE_PORT_HTTP": "9001",
    "PORT": "tcp://10.0.0.9:9001",
    "PORT_9001_TCP": "tcp://10.0.0.9:9001",
    "PORT_9001_TCP_PROTO": "tcp",
    "PORT_9001_TCP_PORT": "9001",
    "PORT_9001_TCP_ADDR": "10.0.0.9",
    "PORT_53_UDP": "udp://[fd00::9]:53",
    "PORT_53_UDP_PROTO": "udp",
    "PORT_53_UDP_PORT": "53",
    "PORT_53_UDP_ADDR": "fd00::9",
}


@pytest.mark.parametrize("service", ["", "PROGRAM_", "INET_HTTP_SERVER_", "A__B_"])
def test_kubernetes_service_variables_are_ignored(service: str) -> None:
    links = {f"SUPERVISOR_{service}{name}": value for name, value in LINKS.items()}
    assert configuration(["x"], **links) == configuration(["x"])
    assert find_ignored(links) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "9001"),
        ("SERVICE_HOST", "a.b"),
        ("SERVICE_PORT", "http"),
        ("PORT_1_TCP", "x"),
        ("PORT_1_TCP_PROTO", "x"),
        ("PORT_1_TCP_PORT", "x"),
        ("PORT_1_TCP_ADDR", "x"),
        ("HOST", "10.0.0.9"),
    ],
)
def test_other_variables_are_not_service_links(name: str, value: str) -> None:
    assert not is_service_link(f"A_{name}", value)


@pytest.mark.parametrize("name", ["TOKEN", "LOGLEVEL", "PORT", "USER", "SERVICES_FILE"])
def test_variables_without_section_are_ignored(name: str) -> None:
    """For example, Home Assistant gives each add-on a SUPERVISOR_TOKEN."""
    environ = {f"SUPERVISOR_{name}": "s3cret"}
    assert configuration(["x"], **environ) == configuration(["x"])
    assert find_ignored(environ) == [*environ]


def test_ignored_variable_is_logged_once_without_value() -> None:
    links = {f"SUPERVISOR_{name}": value for name, value in LINKS.items()}
    env = {"SUPERVISOR_TOKEN": "s3cret", "SUPERVISOR_URL": "s3cret", **links}
    end = run_until_exit([SUPERVISOR, "true"], env)
    assert end.status == 0
    [line] = [line for line in end.stderr.splitlines() if "SUPERVISOR_" in line]
    assert "SUPERVISOR_TOKEN, SUPERVISOR_URL" in line
    assert "s3cret" not in end.stdout + end.stderr


def test_engine_does_not_inherit_service_links() -> None:
    links = {f"VLLM_{name}": value for name, value in LINKS.items()}
    others = {"VLLM_LOGGING_LEVEL": "INFO", "REDIS_PORT": LINKS["PORT"]}
    end = run_until_exit([SUPERVISOR, "env"], {**links, **others})
    names = {line.partition("=")[0] for line in end.stdout.splitlines()}
    assert not names & links.keys()
    assert others.keys() <= names
    [line] = [line for line in end.stderr.splitlines() if "VLLM_" in line]
    assert all(name in line for name in links)


@pytest.mark.parametrize(
    "name", ["SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME", "SUPERVISOR_CONFIG_PATH"]
)
def test_supervisords_own_variables_are_ignored(name: str) -> None:
    assert configuration(["x"], **{name: "1"}) == configuration(["x"])


def test_supervisord_http_server_can_be_enabled() -> None:
    text = configuration(["x"], SUPERVISOR_UNIX_HTTP_SERVER_FILE="/run/s.sock")
    assert "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = " in text


# --- generate-supervisor-config ----------------------------------------------------


def generate(*arguments: Any, env: dict[str, str] | None = None) -> Any:
    return run_until_exit([GENERATE, *arguments], env)


def test_configuration_can_be_written_without_running(tmp_path: Path) -> None:
    output = tmp_path / "supervisord.conf"
    env = {"PROCESS_MAX_START_RETRIES": "7", "PROCESS_AUTO_RECOVERY": "false"}
    end = generate("-o", output, "-p", "llm", "vllm", "serve", "-o", "100%", env=env)
    assert (end.status, end.stdout) == (0, ""), end.stderr
    text = output.read_text()
    assert "[program:llm]" in text
    assert "startretries = 7" in text
    assert "autorestart = false" in text
    assert "startsecs = 1\n" in text
    assert argv_of(text, tmp_path) == ["vllm", "serve", "-o", "100%"]
    assert output.stat().st_mode & 0o777 == 0o600


def test_value_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    end = generate("-o", tmp_path / "no" / "folder.conf", "vllm")
    assert end.status == 1
    assert "No such file or directory" in end.stderr
    end = generate("vllm")
    assert end.status == 2
    assert "--output" in end.stderr
