"""`make mutants`: delete each statement of model.py, packed.py and losses.py in turn; some test must notice.

Prints the survivors and exits with their number.  Each mutant runs in a fork of a process that has
imported torch already, so that it takes a second or two.
"""

import ast
import os
import sys
import types
from collections.abc import Iterator

import pytest

from lpgnet.config import ROOT

FILES = ("model", "packed", "losses", "seeds", "training")  # the quickest first, as most mutants fall there
TESTS = ["-x", "-q", "-p", "no:cacheprovider", *(f"tests/test_{name}.py" for name in FILES)]
STATEMENTS = (ast.Assign, ast.AugAssign, ast.Return, ast.If, ast.For, ast.Raise)


def statements(source: str) -> Iterator[tuple[int, int, int]]:
    """First line, last line and column of everything that computes something."""
    for node in ast.walk(ast.parse(source)):
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for child in body if isinstance(body, list) else []:
                text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
                if isinstance(child, STATEMENTS) or (isinstance(child, ast.Expr) and not text):
                    yield child.lineno, child.end_lineno, child.col_offset


def survives(name: str, source: str) -> bool:
    """Whether the tests pass with the module's source replaced."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            module = types.ModuleType(name)
            sys.modules[name] = module
            exec(compile(source, name, "exec"), module.__dict__)
            os._exit(pytest.main(TESTS))
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def main() -> int:
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)
    tried = alive = 0
    for name in ("model", "runs.packed", "losses"):
        path = ROOT / "lpgnet" / f"{name.replace('.', '/')}.py"
        source = path.read_text()
        if not survives(f"lpgnet.{name}", source):
            raise RuntimeError(f"the tests fail on {path} as it is; mend that first")
        lines = source.split("\n")
        for first, last, column in sorted(set(statements(source))):
            mutant = [*lines[: first - 1], " " * column + "pass", *lines[last:]]
            tried += 1
            if survives(f"lpgnet.{name}", "\n".join(mutant)):
                alive += 1
                print(f"survived: {path.name}:{first}: {lines[first - 1].strip()}", flush=True)
    print(f"{tried} statements deleted, {alive} not noticed")
    return alive


if __name__ == "__main__":
    sys.exit(main())
