"""git's clean filter: a notebook without outputs and counts, in the form that is committed.

`make env` sets it up, so that running a notebook in JupyterLab leaves `git status` clean; without it git takes
notebooks as they are.  Run as a file, stdin to stdout; nothing of the package is imported.
"""

import json
import sys

KEPT = ("kernelspec", "language_info", "lpgnet")  # of a notebook's metadata
TAGGED = ("tags",)  # of a cell's


def cleaned(text: str) -> str:
    """A notebook's JSON as committed; text that is no notebook stays as it is."""
    try:
        notebook = json.loads(text)
        cells = notebook["cells"]
    except (ValueError, TypeError, KeyError):
        return text
    for cell in cells:
        cell["metadata"] = {name: value for name, value in cell["metadata"].items() if name in TAGGED and value}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    about = {name: value for name, value in notebook["metadata"].items() if name in KEPT}
    about |= {"kernelspec": KERNEL} if "kernelspec" in about else {}
    about |= {"language_info": {"name": "python"}} if "language_info" in about else {}
    notebook["metadata"] = about
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

if __name__ == "__main__":
    sys.stdout.buffer.write(cleaned(sys.stdin.buffer.read().decode("utf-8")).encode("utf-8"))
