"""What code a number is of: the definitions that it goes through, by syntax tree.

From a definition (a function, a class, a constant, or a module as a whole) follow all names that it reads to
their own definitions in this package.  Comments, docstrings, formatting and the names of modules count for
nothing, so what is only moved or renamed stays the same; files are read, nothing is imported.
"""

import ast
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
NAMED = ("lpgnet", "notebooks", "paper_tables/reported")  # what numbers are made of, for `swhids`
# Rooms and modules that move numbers about and decide none, or whose values stand in a key anyway.
PLUMBING = ("machine", "places", "config", "experiments", "runs.plan", "runs.records")
PLUMBING += ("runs.checkpoint", "runs.model_card", "runs.snapshot", "features.loading", "features.hub")
Name = tuple[str, str]  # module below the package, and what it defines; "" is all of it


@cache
def _module(name: str) -> dict[str, list[ast.stmt]]:
    """What a module defines at its top level -> the statements that do; "" is all of them."""
    path = PACKAGE / f"{name.replace('.', '/')}.py"
    body = ast.parse((path if path.exists() else path.with_suffix("") / "__init__.py").read_text()).body
    names: dict[str, list[ast.stmt]] = {"": body}
    for node in body:
        for defined in _defined(node):
            names.setdefault(defined, []).append(node)
    return names


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


def _exists(name: str) -> bool:
    path = PACKAGE / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def _imported(module: str) -> dict[str, Name]:
    """A name in a module -> what of this package it stands for, imports in functions too."""
    names: dict[str, Name] = {}
    for node in (n for statement in _module(module)[""] for n in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE.name:
            source = node.module.partition(".")[2]
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                target = (whole, "") if _exists(whole) else (source, alias.name)
                names[alias.asname or alias.name] = target
    return names


def _reads(module: str, statements: list[ast.stmt]) -> Iterator[Name]:
    """Definitions of this package that some statements of a module name."""
    imports, own = _imported(module), _module(module)
    for node in (n for statement in statements for n in ast.walk(statement)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            target = imports.get(node.value.id)
            if target and not target[1]:  # a module's attribute
                yield target[0], node.attr
        elif isinstance(node, ast.Name):
            target = imports.get(node.id)
            if target and target[1]:
                yield target
            elif node.id in own:
                yield module, node.id


def _tree(node, imports: dict[str, Name]) -> str:
    """A syntax tree as text, alike for every version of Python; without empty fields and names of modules."""
    if isinstance(node, list):
        return "[" + ",".join(_tree(item, imports) for item in node if not _silent(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.JoinedStr):  # Python 3.12.1 puts empty text into a format within a format
        node = ast.JoinedStr([v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")])
    of_module = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    if of_module and imports.get(node.value.id, ("", "a value"))[1] == "":
        return f"Name({node.attr})"
    fields = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
    return f"{type(node).__name__}({','.join(f'{name}={_tree(value, imports)}' for name, value in fields)})"


def _silent(node) -> bool:
    """A docstring or any other lone text, or an import from this package."""
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == PACKAGE.name
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def _digest(module: str, name: str) -> str:
    return hashlib.sha256(_tree(_module(module)[name], _imported(module)).encode()).hexdigest()


def deciding(entries: Iterable[Name], stop: Iterable[Name] = ()) -> dict[str, dict[str, str]]:
    """module -> definition -> digest, of the entries and all that they lead to.

    stop: definitions that are not followed (a table of alternatives whose one is an entry itself).
    """
    reached: dict[str, dict[str, str]] = {}
    todo, skipped = list(entries), set(stop)
    while todo:
        module, name = todo.pop()
        plumbing = not module or any(module == p or module.startswith(f"{p}.") for p in PLUMBING)
        if plumbing or (module, name) in skipped or name in reached.get(module, {}):
            continue
        if name not in _module(module):
            continue  # a method of an object, or what a library gave
        reached.setdefault(module, {})[name] = _digest(module, name)
        todo += _reads(module, _module(module)[name])
    return reached


def summary(reached: dict[str, dict[str, str]]) -> dict:
    """digest: over all definitions, whatever their modules are called.  modules: each one's, to name it."""
    every = sorted(digest for names in reached.values() for digest in names.values())
    modules = {module: _hash(sorted(names.values()))[:12] for module, names in sorted(reached.items())}
    return {"digest": _hash(every), "modules": modules}


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def changed(old: dict, new: dict) -> str:
    """Which modules differ between two summaries: "model.py changed"."""
    names = sorted(
        name for name in old["modules"].keys() | new["modules"].keys()
        if old["modules"].get(name) != new["modules"].get(name)
    )  # fmt: skip
    return ", ".join(f"{name.replace('.', '/')}.py" for name in names) + " changed"


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed versions of some libraries, without a build's own ending; what isn't here is left out."""
    return {name: found for name in names if (found := _version(name))}


@cache
def _version(name: str) -> str:
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def swhids(root: Path = PACKAGE.parent) -> tuple[str, ...]:
    """Software Heritage's identifiers of the checkout: its revision, its tree, and the package's folder.

    They are git's own hashes.  "dirty" stands behind them where files have changed since; ("unknown",)
    where there is no git.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ("unknown",)

    def said(*words: str) -> list[str]:
        done = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True)
        return done.stdout.splitlines() if done.returncode == 0 else []

    hashes = said("rev-parse", "HEAD", "HEAD^{tree}", f"HEAD:{PACKAGE.name}")
    if len(hashes) != 3:  # no commit yet
        return ("unknown",)
    names = tuple(f"swh:1:{kind}:{one}" for kind, one in zip(("rev", "dir", "dir"), hashes, strict=True))
    return (*names, "dirty") if said("status", "--porcelain", "--", *NAMED) else names
