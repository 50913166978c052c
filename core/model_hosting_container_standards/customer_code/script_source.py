"""Checks a customer's file by its source.

Most unsuitable scripts were written for another server. Running one either fails with a
confusing error about a missing module, or succeeds, and then no request reaches it. A
script's imports are checked before it is run. Its definitions may have such names by
chance, so they are checked only after it has run and registered no handler.
"""

from __future__ import annotations

import ast
import importlib.util
import tokenize
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from ..exceptions import ModuleLoadError

#: Files with another extension (compiled modules) have no source to check.
_SOURCE: Final = ".py"
#: Modules that only scripts for another server import.
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
#: Names that another server looks for in a script.
_NAMES: Final = {
    "model_fn": _TOOLKIT,
    "input_fn": _TOOLKIT,
    "predict_fn": _TOOLKIT,
    "output_fn": _TOOLKIT,
    "transform_fn": _TOOLKIT,
    "TritonPythonModel": "Triton Inference Server",
}
_OURS: Final = "model_hosting_container_standards"
_EXPECTED: Final = (
    "This server expects functions named ping and invoke, or decorated by "
    f"{_OURS}.sagemaker."
)
#: Calls that start a server and do not return.
_SERVING: Final = frozenset(
    {"hypercorn.run", "uvicorn.run", "waitress.serve", "web.run_app"}
)
#: Classes whose ``run`` method starts a server and does not return.
_APPS: Final = frozenset({"Bottle", "Flask", "Quart", "Sanic"})
#: Yields signs of another server: the line, what the script does, the server.
_Signs = Callable[[ast.Module], Iterator[tuple[int, str, str]]]
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check_source(path: Path, *, are_modules_installed: bool = True) -> None:
    """Check that a file can be run.

    ``are_modules_installed`` is false before the requirements are installed: missing
    modules are then no error.

    Raises:
        ModuleLoadError: it is not valid Python, or a statement at its top level would
            fail or never return.
    """
    if path.suffix != _SOURCE:
        return
    tree = _parse(path)
    apps = {*_find_apps(tree)}
    for node in tree.body:
        problem = _relative_import(node) or _server_start(node, apps)
        if are_modules_installed:
            problem = problem or _missing_server_module(node, path.parent)
        if problem:
            raise ModuleLoadError(f"{path}:{node.lineno}: {problem}")


def check_imports(path: Path, handlers: Container[str]) -> None:
    """Check that a script does not only import the modules of another server.

    ``handlers`` are the names by which handlers are found in a script.

    Raises:
        ModuleLoadError: it does: this server would load it, but never call it.
    """
    _check_purpose(path, handlers, _foreign_imports)


def check_definitions(path: Path, handlers: Container[str]) -> None:
    """Check a script that has registered no handler for names of another server.

    Raises:
        ModuleLoadError: it defines names that another server looks for.
    """
    _check_purpose(path, handlers, _foreign_definitions)


def advice_on(error: BaseException) -> str:
    """Return advice for an exception that a file raised, or an empty text."""
    if not isinstance(error, ImportError):
        return ""
    if server := _SERVERS.get((error.name or "").partition(".")[0]):
        return f" It seems to be a script for {server}. {_EXPECTED}"
    if "relative import" in str(error):
        return (
            " Import a file of the same folder by its plain name (from utils import x, "
            "not from .utils import x), as it is not part of a package."
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


# --- statements that fail or never return -------------------------------------------


def _relative_import(node: ast.stmt) -> str:
    if not isinstance(node, ast.ImportFrom) or not node.level:
        return ""
    if node.module:
        plain: ast.stmt = ast.ImportFrom(node.module, node.names, 0)
    else:
        plain = ast.Import(node.names)
    return (
        f"{ast.unparse(node)!r} is a relative import, and the file is not part of a "
        f"package: write {ast.unparse(plain)!r}, as its folder is on sys.path."
    )


def _missing_server_module(node: ast.stmt, folder: Path) -> str:
    for _, root in _find_imports([node]):
        if root in _SERVERS and not _is_importable(root, folder):
            return (
                f"it imports {root}, which is not installed here: it seems to be a "
                f"script for {_SERVERS[root]}. {_EXPECTED}"
            )
    return ""


def _is_importable(root: str, folder: Path) -> bool:
    try:
        return _is_sibling(root, folder) or importlib.util.find_spec(root) is not None
    except ValueError:  # In sys.modules, without a __spec__.
        return True


def _server_start(node: ast.stmt, apps: Container[str]) -> str:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return ""
    called = ast.unparse(node.value.func)
    owner, _, method = called.rpartition(".")
    if called in _SERVING or (owner in apps and method == "run"):
        return (
            f"{called} would start a server and never return: put it below "
            "`if __name__ == '__main__':`."
        )
    return ""


def _find_apps(tree: ast.Module) -> Iterator[str]:
    """Yield the names of module-level apps whose ``run`` starts a server."""
    for node in tree.body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        if ast.unparse(node.value.func).rpartition(".")[2] in _APPS:
            yield from map(ast.unparse, node.targets)


# --- the server that it was written for ---------------------------------------------


def _check_purpose(path: Path, handlers: Container[str], signs: _Signs) -> None:
    if path.suffix != _SOURCE:
        return
    tree = _parse(path)
    sign = next(signs(tree), None)
    if sign is not None and not _may_have_handlers(tree, path.parent, handlers):
        line, does, server = sign
        raise ModuleLoadError(
            f"{path}:{line}: it {does}, but has no handler for this server: it seems "
            f"to be a script for {server}. {_EXPECTED}"
        )


def _foreign_imports(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for line, root in _find_imports(ast.walk(tree)):
        if root in _SERVERS:
            yield line, f"imports {root}", _SERVERS[root]


def _foreign_definitions(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    for line, name in _find_names(tree.body):
        if name in _NAMES:
            yield line, f"defines {name}", _NAMES[name]


def _may_have_handlers(
    tree: ast.Module, folder: Path, handlers: Container[str]
) -> bool:
    """Return whether the script has handlers, or imports files that may."""
    roots = {root for _, root in _find_imports(ast.walk(tree))}
    if _OURS in roots or any(_is_sibling(root, folder) for root in roots):
        return True
    # A star import may define any name.
    return any(name in handlers or name == "*" for _, name in _find_names(tree.body))


def _is_sibling(root: str, folder: Path) -> bool:
    return (folder / f"{root}.py").exists() or (folder / root).is_dir()


def _find_imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level module of each import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def _find_names(body: Iterable[Any]) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each assignment, definition and import."""
    for node in body:
        yield from ((node.lineno, name) for name in _bound_names(node))
        if not isinstance(node, _DEFINITIONS):
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _find_names(getattr(node, field, ()))


def _bound_names(node: ast.stmt) -> list[str]:
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
