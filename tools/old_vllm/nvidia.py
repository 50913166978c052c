"""Stand-ins for NVIDIA's libraries, without which a CUDA build of torch does not load.

The torch of an older vLLM is published with CUDA alone, and asks the loader for a dozen
of NVIDIA's libraries, which are several GB. On a machine without a GPU none of them
has anything to do. So each is replaced by a library of its name that has the functions
torch refers to, and whose every function returns an error. torch sees what it sees on
a machine without a driver: no device. Nothing of torch itself is changed.

A CPU build of torch needs none of this and is left as it is.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from .binutils import run

#: Its functions take the names that are looked up in any library, too.
RUNTIME: Final = re.compile(r"libcudart\.so")
LIBRARY: Final = re.compile(r"lib(cu|nv|nccl)\w*\.so")
FUNCTION: Final = re.compile(r"(__)?(cu|nv|nccl)[A-Za-z]*[A-Z]")
TEXT: Final = re.compile(r"GetError(String|Name)$|GetErrorString$")

# Instructions of x86-64. 100 is cudaErrorNoDevice; to the other libraries any number
# but 0 is an error. Only what returns a text must return one.
ERROR: Final = "movl $100, %eax"
MESSAGE: Final = "leaq message(%rip), %rax"


def stand_in(libraries: Path) -> None:
    """Write to the folder of torch's libraries what they need of NVIDIA's."""
    torch = [str(file) for file in sorted(libraries.glob("lib*.so*"))]
    versions, functions = versions_by_library(torch), functions_by_version(torch)
    for name in missing(torch):
        wanted = {version: functions[version] for version in versions[name]}
        if RUNTIME.match(name):
            wanted[name] |= functions[""]
        write_library(libraries / name, wanted)


def missing(torch: list[str]) -> list[str]:
    """Return NVIDIA's libraries that the loader would look for, and not find."""
    headers = run("readelf", "--dynamic", "--wide", *torch)
    needed = {*re.findall(r"\(NEEDED\).*\[(.+)\]", headers)}
    present = {Path(file).name for file in torch}
    return sorted(name for name in needed - present if LIBRARY.match(name))


def versions_by_library(torch: list[str]) -> dict[str, set[str]]:
    """Return the versions of symbols that each library must have: mostly its name."""
    found = defaultdict(set)
    library = ""
    for line in run("readelf", "--version-info", "--wide", *torch).splitlines():
        if file := re.search(r"Version: 1  File: (\S+)", line):
            library = file[1]
        elif version := re.search(r"  Name: (\S+)  Flags:", line):
            found[library].add(version[1])
    return found


def functions_by_version(torch: list[str]) -> dict[str, set[str]]:
    """Return the names torch refers to; "" has those that come from any library."""
    found = defaultdict(set)
    names = run("nm", "--dynamic", "--undefined-only", *torch)
    for line in re.findall(r"^ +U (\S+)$", names, re.MULTILINE):
        name, _, version = line.partition("@")
        if version or FUNCTION.match(name):
            found[version].add(name)
    return found


def write_library(file: Path, functions: dict[str, set[str]]) -> None:
    """Compile a library of functions, by their versions, that do nothing."""
    with tempfile.TemporaryDirectory() as name:
        source, versions = Path(name, "source.s"), Path(name, "versions")
        source.write_text(assembly({*chain(*functions.values())}))
        versions.write_text(version_script(functions))
        linker = f"-Wl,-soname,{file.name},--version-script,{versions}"
        run("gcc", "-shared", "-nostdlib", linker, "-o", str(file), str(source))


def version_script(functions: dict[str, set[str]]) -> str:
    nodes = (
        f"{version} {{ {' '.join(f'{name};' for name in sorted(names))} }};"
        for version, names in functions.items()
    )
    return "\n".join(nodes) or "{ *; };"


def assembly(functions: Iterable[str]) -> str:
    lines = [".section .rodata", 'message: .asciz "there is no GPU"', ".text"]
    for name in sorted(functions):
        code = MESSAGE if TEXT.search(name) else ERROR
        lines += [f".globl {name}", f".type {name}, @function", f"{name}: {code}; ret"]
    return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])
