"""Outputs of notebooks stay out of git, and in the file that was saved.

`cleaned` is git's clean filter (.gitattributes), which `make env` sets up; it runs as a file, from stdin to stdout.
`saved` is called by JupyterLab after each save (`make lab`).  Without either, git takes notebooks as they are.
"""

import json
import subprocess
import sys
from pathlib import Path

KEPT = ("lpgnet",)  # of a notebook's metadata
TAGGED = ("tags",)  # of a cell's
PYTHON = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cleaned(text: str) -> str:
    """A notebook's JSON as committed; text that is no notebook stays as it is."""
    try:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            cell["metadata"] = {name: value for name, value in cell["metadata"].items() if name in TAGGED and value}
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
        about = notebook["metadata"]
        notebook["metadata"] = {name: about[name] for name in KEPT if name in about} | PYTHON
    except (ValueError, TypeError, KeyError, AttributeError):
        return text
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def saved(model: dict, os_path: str, **_) -> None:
    """Tell git that a file is as it was, where cleaned it is what the index has; its size alone would be a change."""
    path = Path(os_path)

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=path.parent, capture_output=True, text=True).stdout

    known = git("rev-parse", f":./{path.name}")
    if model["type"] == "notebook" and known and known == git("hash-object", "--path", path.name, path.name):
        git("add", path.name)


if __name__ == "__main__":
    sys.stdout.buffer.write(cleaned(sys.stdin.buffer.read().decode("utf-8")).encode("utf-8"))
