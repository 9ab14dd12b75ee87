"""What docs/ says is what the code does: readings, the audit of the paper, links, commands, options."""

import re
import subprocess
import sys

import pytest
import typer
from test_tables import DATA, EMPTY

from lpgnet.beyond.audit import paper_audit
from lpgnet.beyond.readings import alternatives
from lpgnet.cli import app
from lpgnet.config import ROOT
from lpgnet.experiments import EXPERIMENTS, READINGS
from lpgnet.tables import build

DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")]
PAGES += sorted(DOCS.glob("*.md"))
NO_OTHER = "- none that is run"


def numbered(reading: str) -> int:
    """ "R10a" -> 10."""
    return int(re.search(r"\d+", reading)[0])


def sections() -> dict[int, str]:
    """Number of a reading -> its section of the page."""
    parts = re.split(r"^## R(\d+): .+$", (DOCS / "readings.md").read_text(), flags=re.M)
    found = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    assert len(found) == len(parts) // 2, "a reading has two sections"
    return found


def alternative_lines() -> dict[int, list[str]]:
    """Number of a reading -> the lines that name its alternatives: those of runs of their own, in the order
    of `READINGS`, then those that notebook 07 reads out of the records of `full`."""
    found: dict[int, list[str]] = {}
    for a in READINGS:
        line = f"- `{a.experiment}` against `{a.default}`: {a.says}; `{a.changes}`"
        found.setdefault(numbered(a.reading), []).append(line)
    own = {(a.reading, a.says) for a in READINGS}
    table = alternatives.readings(EMPTY.assign(students=None), DATA)
    lines = table[["reading", "alternative", "default"]].drop_duplicates()
    for reading, says, default in lines.itertuples(index=False):
        if (reading, says) not in own:
            line = f"- in the records of `full`, against `{default}`: {says}"
            found.setdefault(numbered(reading), []).append(line)
    return found


def test_every_reading_of_the_code_has_its_section_and_the_reverse():
    code = "\n".join(path.read_text() for path in (ROOT / "lpgnet").rglob("*.py"))
    assert list(sections()) == sorted({int(n) for n in re.findall(r"Reading R(\d+)", code)})


def test_each_section_says_where_what_the_paper_says_and_what_we_took():
    for number, text in sections().items():
        heads = re.findall(r"^\*([\w ]+):\*", text, re.M)
        assert heads == ["Where", "The paper", "We took", "Alternatives"], f"R{number}"


def test_every_alternative_is_named_under_its_reading_and_no_other():
    wanted = alternative_lines()
    for number, text in sections().items():
        assert re.findall(r"^- .*$", text, re.M) == wanted.get(number, [NO_OTHER]), f"R{number}"
    assert wanted.keys() <= sections().keys()


def test_every_experiment_that_the_readings_name_exists():
    """A word in code quotes with an underscore, or in a line of alternatives, is an experiment."""
    text = (DOCS / "readings.md").read_text()
    listed = set(re.findall(r"^- `(\w+)` against `(\w+)`", text, re.M))
    named = {name for pair in listed for name in pair} | set(re.findall(r"`([a-z0-9]+_\w+)`", text))
    assert named and named <= EXPERIMENTS.keys()


def test_the_committed_audit_is_what_audit_writes(tmp_path):
    paths = paper_audit.write(paper_audit.audit_paper(build.reported()), tmp_path)
    (page,) = (path for path in paths if path.suffix == ".md")
    assert (DOCS / "paper_audit.md").read_bytes() == page.read_bytes()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    """To a file of the repository, and to a heading where it names one; addresses are not asked."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not heading or heading in anchors(file.read_text()), target


def anchors(text: str) -> set[str]:
    """What a heading is called in a link, as GitHub and GitLab form it."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(node=None, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], typer.core.TyperCommand]:
    """Every command by its words."""
    node = node or typer.main.get_command(app)
    inside = getattr(node, "commands", {})
    return {k: v for name, one in inside.items() for k, v in commands(one, (*words, name)).items()} or {words: node}


def test_every_command_has_an_example_and_help_needs_no_pandas():
    assert all(node.epilog.startswith("Example: python -m lpgnet ") for node in commands().values())
    block = "import sys; sys.modules['pandas'] = sys.modules['torch'] = None\n"
    block += "from lpgnet.cli import app; app(['--help'])"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "Exit codes: 0 done" in " ".join(done.stdout.split()), done.stderr


def calls() -> dict[tuple[str, ...], set[str]]:
    """Command -> the options that the pages, and its own example, give it."""
    found: dict[tuple[str, ...], set[str]] = {}
    for text in (*(page.read_text() for page in PAGES), *(node.epilog for node in commands().values())):
        for call in re.findall(r"-m lpgnet ([a-z][^\n`#|]*)", text):
            command = tuple(re.match(r"(?:corpus |labels )?[a-z]+", call)[0].split())
            found.setdefault(command, set()).update(re.findall(r"--[a-z][\w-]*", call))
    return found


def test_every_command_and_option_of_a_page_exists():
    found = calls()
    assert len(found) > 8
    for command, named in found.items():
        node = commands()[command]
        known = {name for p in node.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert named <= known, f"{' '.join(command)}: {sorted(named - known)}"
