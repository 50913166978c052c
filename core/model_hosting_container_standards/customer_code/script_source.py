"""Checks of a customer's file by its source.

Most scripts that do not fit were written for another server. To run one raises an error
about a module that is not installed, or none: then no request ever reaches it. What a
script imports is checked before it is run; what it defines may be named by chance, and
is checked once it has run and no handler is known.
"""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from ..exceptions import ModuleLoadError

#: Other files have no source that could be read.
_SOURCE: Final = ".py"
#: Modules that scripts import for the sake of another server.
_SERVERS: Final = {
    "bentoml": "BentoML",
    "cog": "Cog",
    "djl_python": "DJL Serving (SageMaker's LMI)",
    "kserve": "KServe",
    "mlserver": "MLServer",
    "mms": "Multi Model Server",
    "sagemaker_containers": "SageMaker's containers for frameworks",
    "sagemaker_huggingface_inference_toolkit": "SageMaker's Hugging Face container",
    "sagemaker_inference": "SageMaker's inference toolkit",
    "sagemaker_pytorch_serving_container": "SageMaker's PyTorch container",
    "triton_python_backend_utils": "Triton Inference Server",
    "ts": "TorchServe",
}
_TOOLKIT: Final = "SageMaker's inference toolkit (PyTorch, Hugging Face)"
#: Names that such a server looks for.
_NAMES: Final = {
    "model_fn": _TOOLKIT,
    "input_fn": _TOOLKIT,
    "predict_fn": _TOOLKIT,
    "output_fn": _TOOLKIT,
    "transform_fn": _TOOLKIT,
    "TritonPythonModel": "Triton Inference Server",
}
_OURS: Final = "model_hosting_container_standards"
_WANTED: Final = (
    "This server takes functions named ping and invoke, or decorated by "
    f"{_OURS}.sagemaker."
)
#: Calls that serve until the end of the process.
_SERVING: Final = frozenset(
    {"hypercorn.run", "uvicorn.run", "waitress.serve", "web.run_app"}
)
#: Classes whose instances have a ``run`` that does.
_APPS: Final = frozenset({"Bottle", "Flask", "Quart", "Sanic"})
#: Yields where and by what another server is meant, and which one.
_Signs = Callable[[ast.Module], Iterator[tuple[int, str, str]]]
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check_source(path: Path, *, are_modules_installed: bool = True) -> None:
    """Check that a file can be run.

    ``are_modules_installed`` is false while the modules of a server may be missing.

    Raises:
        ModuleLoadError: it is no Python, or what it does at once cannot be done here.
    """
    if path.suffix != _SOURCE:
        return
    tree = _parse(path)
    apps = {*_apps(tree)}
    for node in tree.body:
        problem = _relative_import(node) or _own_server(node, apps)
        if are_modules_installed:
            problem = problem or _missing_server(node, path.parent)
        if problem:
            raise ModuleLoadError(f"{path}:{node.lineno}: {problem}")


def check_imports(path: Path, handlers: Container[str]) -> None:
    """Check that a script does not import another server's modules alone.

    ``handlers`` are the names by which handlers are found in a script.

    Raises:
        ModuleLoadError: it does: this server would run it, and ask it nothing.
    """
    _check_purpose(path, handlers, _foreign_imports)


def check_definitions(path: Path, handlers: Container[str]) -> None:
    """Check that a script that has registered no handler is not another server's.

    Raises:
        ModuleLoadError: it defines what such a server looks for.
    """
    _check_purpose(path, handlers, _foreign_definitions)


def advice_on(error: BaseException) -> str:
    """Return what to do about an error of a file that was run, if that is known."""
    if not isinstance(error, ImportError):
        return ""
    if server := _SERVERS.get((error.name or "").partition(".")[0]):
        return f" It seems to be a script for {server}. {_WANTED}"
    if "relative import" in str(error):
        return (
            " A file of the same folder is imported by its plain name (from utils "
            "import x, not from .utils import x), as it is not part of a package."
        )
    return ""


def _parse(path: Path) -> ast.Module:
    try:
        with tokenize.open(path) as file:
            text = file.read()
    except OSError as error:
        raise ModuleLoadError(f"{path} cannot be read: {error.strerror}.") from error
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ModuleLoadError(
            f"{path} cannot be loaded: it is not UTF-8 ({error}). Save it as UTF-8, or "
            "declare its encoding in its first line."
        ) from error
    try:
        tree = ast.parse(text, path)
        compile(tree, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModuleLoadError(f"{path} cannot be loaded: {reason}") from error
    return tree


# --- what it does at once ----------------------------------------------------------


def _relative_import(node: ast.stmt) -> str:
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return ""
    if node.module:
        plain: ast.stmt = ast.ImportFrom(node.module, node.names, 0)
    else:
        plain = ast.Import(node.names)
    return (
        f"{ast.unparse(node)!r} is a relative import, and the file is not part of a "
        f"package: write {ast.unparse(plain)!r}, as its folder is on the path."
    )


def _missing_server(node: ast.stmt, folder: Path) -> str:
    for _, root in _imports([node]):
        if root in _SERVERS and not _is_importable(root, folder):
            return (
                f"it imports {root}, which is not installed here: it seems to be a "
                f"script for {_SERVERS[root]}. {_WANTED}"
            )
    return ""


def _is_importable(root: str, folder: Path) -> bool:
    try:
        return _is_sibling(root, folder) or importlib.util.find_spec(root) is not None
    except ValueError:  # It is there, made by hand.
        return True


def _own_server(node: ast.stmt, apps: Container[str]) -> str:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return ""
    called = ast.unparse(node.value.func)
    owner, _, method = called.rpartition(".")
    if called in _SERVING or (owner in apps and method == "run"):
        return (
            f"{called} would start a server of its own, and never return: put it below "
            "`if __name__ == '__main__':`."
        )
    return ""


def _apps(tree: ast.Module) -> Iterator[str]:
    """Yield the names of apps that serve by themselves."""
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        if ast.unparse(node.value.func).rpartition(".")[2] in _APPS:
            yield from map(ast.unparse, node.targets)


# --- whose it is -------------------------------------------------------------------


def _check_purpose(path: Path, handlers: Container[str], signs: _Signs) -> None:
    if path.suffix != _SOURCE:
        return
    tree = _parse(path)
    sign = next(signs(tree), None)
    if sign is not None and not _may_be_ours(tree, path.parent, handlers):
        line, does, server = sign
        raise ModuleLoadError(
            f"{path}:{line}: it {does}, and has no handler of this server's: it seems "
            f"to be a script for {server}. {_WANTED}"
        )


def _foreign_imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for line, root in _imports(ast.walk(tree)):
        if root in _SERVERS:
            yield line, f"imports {root}", _SERVERS[root]


def _foreign_definitions(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for line, name in _names(tree.body):
        if name in _NAMES:
            yield line, f"defines {name}", _NAMES[name]


def _may_be_ours(tree: ast.Module, folder: Path, handlers: Container[str]) -> bool:
    """Whether there are handlers, or may be: in what is imported, say."""
    roots = {root for _, root in _imports(ast.walk(tree))}
    if _OURS in roots or any(_is_sibling(root, folder) for root in roots):
        return True
    # A star may stand for any name.
    return any(name in handlers or name == "*" for _, name in _names(tree.body))


def _is_sibling(root: str, folder: Path) -> bool:
    return (folder / f"{root}.py").exists() or (folder / root).is_dir()


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield lines that import something, and its top-level module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def _names(body: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """Yield lines of a module that give something a name, and that name."""
    for node in body:
        yield from ((node.lineno, name) for name in _bound(node))
        if not isinstance(node, _DEFINITIONS):
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _names(getattr(node, field, ()))


def _bound(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Import() | ast.ImportFrom():
            return [alias.asname or alias.name for alias in node.names]
        case ast.Assign():
            return [name for target in node.targets for name in _targets(target)]
        case ast.AnnAssign():
            return [ast.unparse(node.target)]
    return []


def _targets(target: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _targets(element)
    else:
        yield ast.unparse(target)
