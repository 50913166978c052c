"""Stand-ins for NVIDIA's libraries, without which a CUDA build of torch does not load.

The torch of an older vLLM is only published with CUDA, and is linked to a dozen of
NVIDIA's libraries, several GB in total. Without a GPU they are not used. Each of them
is replaced by a library of the same name with the functions that torch refers to, all
of which return an error, so that torch finds no device, as on a machine without a
driver. torch itself is not changed.

A CPU build of torch does not need this and is left unchanged.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from .binutils import run

#: This library also gets the functions without a version, found in any library.
RUNTIME: Final = re.compile(r"libcudart\.so")
LIBRARY: Final = re.compile(r"lib(cu|nv|nccl)\w*\.so")
FUNCTION: Final = re.compile(r"(__)?(cu|nv|nccl)[A-Za-z]*[A-Z]")
TEXT: Final = re.compile(r"GetError(String|Name)$|GetErrorString$")

# Instructions of x86-64. 100 is cudaErrorNoDevice; in the other libraries, every number
# except 0 is an error. Functions that return a text must return a valid pointer.
ERROR: Final = "movl $100, %eax"
MESSAGE: Final = "leaq message(%rip), %rax"


def stand_in(libraries: Path) -> None:
    """Write the stand-ins that torch's libraries need into their folder."""
    torch = [str(file) for file in sorted(libraries.glob("lib*.so*"))]
    versions, functions = versions_by_library(torch), functions_by_version(torch)
    for name in missing(torch):
        wanted = {version: functions[version] for version in versions[name]}
        if RUNTIME.match(name):
            wanted[name] |= functions[""]
        write_library(libraries / name, wanted)


def missing(torch: list[str]) -> list[str]:
    """Return the names of NVIDIA's libraries that the loader would not find."""
    headers = run("readelf", "--dynamic", "--wide", *torch)
    needed = {*re.findall(r"\(NEEDED\).*\[(.+)\]", headers)}
    present = {Path(file).name for file in torch}
    return sorted(name for name in needed - present if LIBRARY.match(name))


def versions_by_library(torch: list[str]) -> dict[str, set[str]]:
    """Return the symbol versions that each library must define; mostly its name."""
    found = defaultdict(set)
    library = ""
    for line in run("readelf", "--version-info", "--wide", *torch).splitlines():
        if file := re.search(r"Version: 1  File: (\S+)", line):
            library = file[1]
        elif version := re.search(r"  Name: (\S+)  Flags:", line):
            found[library].add(version[1])
    return found


def functions_by_version(torch: list[str]) -> dict[str, set[str]]:
    """Return the functions torch refers to, by version; "" has those without one."""
    found = defaultdict(set)
    names = run("nm", "--dynamic", "--undefined-only", *torch)
    for line in re.findall(r"^ +U (\S+)$", names, re.MULTILINE):
        name, _, version = line.partition("@")
        if version or FUNCTION.match(name):
            found[version].add(name)
    return found


def write_library(file: Path, functions: dict[str, set[str]]) -> None:
    """Compile a library of functions that only return an error, by their versions."""
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
    lines = [".section .rodata", 'message: .asciz "no GPU is present"', ".text"]
    for name in sorted(functions):
        code = MESSAGE if TEXT.search(name) else ERROR
        lines += [f".globl {name}", f".type {name}, @function", f"{name}: {code}; ret"]
    return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])
