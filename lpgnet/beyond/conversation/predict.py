"""A conversation and a checkpoint -> each turn's calibrated probabilities, and what the gate took.

Letters: T turns, C classes, F features of a modality.
A turn is abstained from where its calibrated top probability is below `SURE`: Chow's rule, for an abstention
that costs half of an error; below one half the answer is more likely wrong than right.  Its set holds every class
that `calibration.threshold` lets in for the coverage that was asked for.  A turn with neither text nor audio is
always abstained from, and its set holds all classes: what is said of it is said of its neighbours.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lpgnet.beyond.conversation import page, sources, spread, timeline
from lpgnet.beyond.conversation.recording import Recording
from lpgnet.beyond.conversation.sources import READS, Conversation
from lpgnet.config import MODALITIES
from lpgnet.corpora.sound import read_clip
from lpgnet.features.encoders import encoder
from lpgnet.features.text import TextEncoder
from lpgnet.labels import labelled
from lpgnet.machine.files import below, listed, plain_name, whole, write_csv, write_json
from lpgnet.machine.workers import Progress
from lpgnet.places import CORPORA, OUTPUT, Place, features_of
from lpgnet.runs.calibration import COVERAGE, SURE, sets, threshold
from lpgnet.runs.checkpoint import Reader, choose_checkpoint, load

SCHEMA = "lpgnet-conversation 1"  # of the JSON; docs/conversation.md says what it holds


def open_conversation(
    place: Place,
    folder: Path | None = None,
    dialogue: str | None = None,
    root: Path | None = None,
    checkpoint: Path | None = None,
    without: Iterable[str] = (),
    online: bool = False,
    **told: Path | str | None,
) -> tuple[Reader, Conversation]:
    """A conversation (see `sources.read`) and the checkpoint for it: the one given, or the place's.

    online: one whose turns read nothing that comes after them.
    """
    reader = load(checkpoint or choose_checkpoint(place, dialogue, online=online))
    if online and not reader.causal:
        raise ValueError(
            f"{checkpoint} is of {reader.trained['experiment']}, which reads the whole conversation: "
            "online wants a checkpoint of past_full, or none, which takes the corpus's own"
        )
    talk = sources.read(place, reader.encoders, folder, dialogue, root, **told)
    if not (checkpoint or online) and (without or not all(talk.has(m).all() for m in reader.sizes)):
        reader = load(choose_checkpoint(place, dialogue, lacking=True))
        talk = talk if folder else sources.read(place, reader.encoders, folder, dialogue, root)
    return reader, talk


def encoders(reader: Reader, talk: Conversation, folders: dict[str, str | None] | None = None) -> dict:
    """Modality -> its encoder, where the vectors of a conversation are still to be made.

    folders: modality -> where its encoder lies, for one that neither ships with us nor is on a hub.
    """
    wanted = [m for m in reader.sizes if m not in talk.vectors and talk.has(m).any()]
    return {m: _encoder(reader, m, (folders or {}).get(m)) for m in wanted}


def vectors(
    reader: Reader, talk: Conversation, folders: dict[str, str | None] | None = None, made: dict | None = None
) -> dict[str, Tensor]:
    """Per modality what the reader wants of each turn, (T, F), NaN where a turn lacks it.

    folders: of `encoders`.  made: what `encoders` gives, where it is open already.
    """
    made, rows = encoders(reader, talk, folders) if made is None else made, {}
    for modality, size in reader.sizes.items():
        rows[modality] = torch.full((len(talk.turns), size), torch.nan)
        if modality in talk.vectors:
            rows[modality][:] = torch.from_numpy(talk.vectors[modality])
            continue
        here = talk.has(modality)
        if here.any():
            read = talk.turns[READS[modality]][here].tolist()
            if modality == "text" and (cut := made[modality].cut(read)):
                turns = listed([str(i + 1) for i in talk.turns.index[here][cut]])
                talk.said.append(f"Cut: the text encoder reads {made[modality].longest} tokens of turn {turns}.")
            inputs = read if modality == "text" else _waves(talk, here)
            found = np.stack([vector for vector, _ in made[modality](inputs)])
            odd = talk.turns["id"][here][~np.isfinite(found).all(axis=1)].tolist()
            if odd:
                raise ValueError(f"turn {odd[0]} of {talk.name} got {modality} features that are not finite")
            rows[modality][torch.tensor(here)] = torch.from_numpy(found)
    return rows


def _waves(talk: Conversation, here: np.ndarray) -> Iterator[np.ndarray]:
    """The sound of the turns that have some."""
    progress = Progress("turns encoded", int(here.sum())) if len(here) > 1 else None
    for turn in np.flatnonzero(here):
        yield talk.wave(int(turn)) if talk.recording else read_clip(talk.root / talk.turns["wav"].iat[turn])
        if progress:
            progress.step()


def _encoder(reader: Reader, modality: str, folder: str | None):
    """The very encoder whose vectors a checkpoint was trained on; another version is a ValueError."""
    about, corpus = reader.encoders[modality], reader.trained["corpus"]
    if corpus not in CORPORA:
        raise ValueError(
            f"the checkpoint's {modality} features came in a file ({corpus}), so no encoder makes them: "
            f"give a dialogue of that corpus (--corpus {corpus} --dialogue NAME)"
        )
    if modality == "text" and reader.trained["config"]["data"]["text"] == "finetuned":
        own = sorted((features_of(corpus).parent / "encoders").glob("text-*"))
        return _finetuned(about, [*own, *([Path(folder)] if folder and Path(folder).is_dir() else [])])
    made = encoder(modality, folder or about["encoder"])
    if made.version != about["version"]:
        raise ValueError(
            f"the checkpoint was trained on {about['encoder']}, version {about['version']}; here is "
            f"{made.name}, version {made.version}: install that one, or give its folder (--{modality})"
        )
    return made


def _finetuned(about: dict, folders: list[Path]) -> TextEncoder:
    """The text encoder that was fitted to the checkpoint's fold, found by its weights."""
    for folder in folders:
        made = TextEncoder(folder, about["encoder"])
        if made.version == about["version"]:
            return made
    looked = ", ".join(map(str, folders)) or "no folder"
    raise FileNotFoundError(
        f"no text encoder {about['encoder']!r}, version {about['version']}, in {looked}: run notebook 01, or "
        "give its folder (--text)"
    )


def masked(rows: dict[str, Tensor], without: Iterable[str]) -> dict[str, Tensor]:
    """The same conversation without some modalities."""
    return {m: torch.full_like(x, torch.nan) if m in without else x for m, x in rows.items()}


def corrected(
    reader: Reader, rows: dict[str, Tensor], turn: int, text: str, folder: str | None = None
) -> dict[str, Tensor]:
    """The same conversation where a turn (from 1) says other words; "" where it says none.  folder: of `encoders`."""
    if "text" not in rows:
        raise ValueError("the model reads no text: nothing hangs on the words")
    words = rows["text"].clone()
    words[turn - 1] = torch.nan
    if text.strip():
        ((vector, _),) = _encoder(reader, "text", folder)([text])
        words[turn - 1] = torch.from_numpy(vector)
    return rows | {"text": words}


def weightiest(reader: Reader, rows: dict[str, Tensor]) -> int:
    """The turn (from 1) whose words move most of what is said of all turns when they are taken away."""
    whole, _ = reader(rows)
    moved = [
        float((reader(corrected(reader, rows, turn, ""))[0] - whole).abs().sum()) for turn in range(1, len(whole) + 1)
    ]
    return 1 + int(np.argmax(moved))


def turn_predictions(
    reader: Reader, talk: Conversation, rows: dict[str, Tensor], sure: float = SURE, coverage: float = COVERAGE
) -> pd.DataFrame:
    """One line per turn, as `tabled` has it; a conversation of which nothing is left is a ValueError."""
    if all(x.isnan().any(dim=1).all() for x in rows.values()):
        raise ValueError(f"{talk.name} has neither text nor audio left in any turn: nothing to predict from")
    return tabled(reader, talk, rows, reader(rows), sure, coverage)


def tabled(
    reader: Reader,
    talk: Conversation,
    rows: dict[str, Tensor],
    given: tuple[Tensor, dict[str, Tensor]],
    sure: float = SURE,
    coverage: float = COVERAGE,
) -> pd.DataFrame:
    """One line per turn: what it is, p_<class>, predicted, entropy (0 to 1), abstain, set, and per modality
    weight_<modality> and has_<modality>.  given: what the reader gives of the turns.

    set: the classes in it, the most probable first.

    weight_<modality>: the part of its branch in Eq. (14); by Reading R7 the other modality reaches a branch
    too.  label: the class that the corpus gives it, "" where it gives none.
    """
    probability, weight = given
    p, names = probability.numpy().astype(float), np.array(reader.classes)
    if not np.isfinite(p).all():
        raise ValueError(f"the checkpoint gives {talk.name} probabilities that are no numbers: train it again")
    known = talk.turns
    if talk.corpus:
        known = known.assign(label=labelled(known, reader.trained["labels"]).fillna(""))
    has = {m: ~rows[m].isnan().any(dim=1).numpy() for m in reader.sizes}
    nothing = ~np.any(list(has.values()), axis=0)
    order = (-p).argsort(1, kind="stable")
    within = sets(p, threshold(reader.validation, coverage)) | nothing[:, None]
    return pd.DataFrame(
        {"turn": talk.turns.index + 1}
        | {name: known[name].to_numpy() for name in known}
        | {f"p_{name}": p[:, i] for i, name in enumerate(names)}
        | {"predicted": names[p.argmax(1)], "entropy": entropy(p)}
        | {"abstain": (p.max(1) < sure) | nothing}
        | {"set": [tuple(names[i[x[i]]].tolist()) for i, x in zip(order, within, strict=True)]}
        | {f"weight_{m}": w.numpy() for m, w in weight.items()}
        | {f"has_{m}": has.get(m, np.zeros(len(p), bool)) for m in MODALITIES}
        | {"trained_on": reader.trained["corpus"]}
    )


def entropy(p: np.ndarray) -> np.ndarray:
    """(T, C) -> (T,): 0 where one class has everything, 1 where all have the same."""
    return np.abs(-(p * np.log(np.maximum(p, 1e-12))).sum(1) / np.log(p.shape[1]))


def turns_as_they_come(
    reader: Reader,
    talk: Conversation,
    made: dict,
    without: Iterable[str] = (),
    sure: float = SURE,
    coverage: float = COVERAGE,
) -> Iterator[pd.DataFrame]:
    """`tabled` turn by turn: each is encoded, read with those before it, and never revised.

    made: as `encoders` gives them.  LPGNet as printed can't: Eq. (6) averages over the whole dialogue.
    """
    if not reader.causal:
        raise ValueError(f"{reader.trained['experiment']} reads the whole conversation: want past_full")
    seen = {m: torch.zeros(0, size) for m, size in reader.sizes.items()}
    for i in range(len(talk.turns)):
        stored = {m: x[i : i + 1] for m, x in talk.vectors.items()}
        turn = replace(talk, turns=talk.turns.iloc[i : i + 1], vectors=stored)
        rows = masked(vectors(reader, turn, made=made), without)
        seen = {m: torch.cat([x, rows[m]]) for m, x in seen.items()}
        yield tabled(reader, turn, rows, reader.latest(seen), sure, coverage)


def by_turns_known(reader: Reader, rows: dict[str, Tensor]) -> np.ndarray:
    """(T, T, C): what is predicted of turn j when turns 0 to i are known, at [i, j]; NaN where j > i."""
    turns = len(next(iter(rows.values())))
    index = torch.cat([torch.arange(i + 1) for i in range(turns)])
    found, _ = reader({m: x[index] for m, x in rows.items()}, list(range(1, turns + 1)))
    probabilities = np.full((turns, turns, len(reader.classes)), np.nan)
    probabilities[np.tril_indices(turns)] = found.numpy()
    return probabilities


def notes(
    reader: Reader, talk: Conversation, turns: pd.DataFrame, sure: float = SURE, coverage: float = COVERAGE
) -> list[str]:
    """What a reader of a prediction has to know, a sentence each.  turns: as `turn_predictions` gives them."""
    about = reader.trained
    said = [
        reader.origin,
        f"Model {about['experiment']}, seed {about['seed']}, fold {about['fold']}, temperature "
        f"{reader.temperature:.2f}; abstains below {sure:.2f}.",
        _coverage(reader, coverage),
    ]
    if reader.causal:
        said.append("Each turn is read with those before it alone.")
    seen = reader.part(talk.corpus, talk.name)
    if seen:
        said.append(f"The model has seen this dialogue: it is of its {seen} part, so this is no test.")
    gone = {m: int((~turns[f"has_{m}"]).sum()) for m in reader.sizes}
    lost = [f"{m} of {n} of {len(turns)} turns" for m, n in gone.items() if n]
    if lost:
        said.append(f"Missing: {', '.join(lost)}; temperature and sets are fitted where nothing is missing.")
    if "seeds" in turns:
        said.append(
            f"Beside it what all {turns['seeds'].iloc[0]} seeds give the predicted class: mean and range (pale)."
        )
    return said + talk.said


def _coverage(reader: Reader, coverage: float) -> str:
    """What the sets promise."""
    known = sum(map(len, reader.validation.values()))
    if not threshold(reader.validation, coverage):
        return f"Sets hold every class: {known} turns of validation are too few for {100 * coverage:g} %."
    return (
        f"Sets hold the true class in {100 * coverage:g} % of turns like the {known} of validation; of other talk "
        "nobody knows."
    )


def write(turns: pd.DataFrame, name: str, said: list[str], out: Path, recording: Recording | None = None) -> list[Path]:
    """<name>.csv, .json and .png in a folder, each whole or not at all; returns their paths.

    recording: what they were cut of, for subtitles, a page and the transcript too.
    """
    stem = out / plain_name(name, "the dialogue")
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("csv", "json", "png")]
    write_csv(paths[0], turns.assign(set=turns["set"].map(", ".join)))
    plain = turns.astype(object).where(turns.notna(), None)
    about = {"schema": SCHEMA, "conversation": name, "notes": said, "turns": plain.to_dict("records")}
    if recording:
        about["recording"] = {"file": recording.path.name, "seconds": round(recording.seconds, 3)}
    write_json(paths[1], about)
    with whole(paths[2]) as part:
        timeline.timeline(turns, name, " ".join(said)).savefig(part, format="png", dpi=110)
    return paths + (page.write(turns, said, recording, stem) if recording else [])


def as_text(turns: pd.DataFrame) -> str:
    """The table as it stands on a terminal."""
    return _shown(turns).to_string(index=False)


def _shown(turns: pd.DataFrame) -> pd.DataFrame:
    top, seeds = turns.filter(like="p_").max(axis=1), ""
    if "seeds" in turns:
        mean, low, high = (turns[f"seeds_{what}"].map("{:.2f}".format) for what in ("mean", "low", "high"))
        seeds = mean + " (" + low + " to " + high + ")"
    return turns[["turn", "speaker", "predicted"]].assign(
        p=top.map("{:.2f}".format),
        entropy=turns["entropy"].map("{:.2f}".format),
        abstain=turns["abstain"].map({True: "abstain", False: ""}),
        set=turns["set"].map(lambda names: f"{{{', '.join(names)}}}"),
        seeds=seeds,
        **{f"gate_{m}": gate_weight(turns, m) for m in MODALITIES},
        has=[" ".join(m for m in MODALITIES if line[f"has_{m}"]) for line in turns.to_dict("records")],
        text=turns["text"].str.slice(0, 48),
    )


def gate_weight(turns: pd.DataFrame, modality: str) -> pd.Series:
    """What Eq. (14) took of a modality's branch; "" where a turn lacks it, or a model has no gate."""
    if f"weight_{modality}" not in turns:
        return pd.Series("", index=turns.index)
    return turns[f"weight_{modality}"].map("{:.2f}".format).where(turns[f"has_{modality}"], "")


def predict_and_write(
    place: Place,
    asked: dict[str, Path | str | None],
    without: list[str],
    folders: dict[str, str | None],
    sure: float,
    coverage: float,
    out: Path | None,
    online: bool = False,
) -> Iterator[str]:
    """Predict and write; yields what the command line says.  asked: as `open_conversation` has it.

    online: a line per turn, as soon as it has been read.
    """
    threshold({}, coverage)  # What would stop it in the end stops it before minutes of listening.
    if asked.get("folder") and Path(asked["folder"]).expanduser().is_file():
        first = load(asked.get("checkpoint") or choose_checkpoint(place, online=online))
        for modality in first.sizes:
            _encoder(first, modality, folders.get(modality))
    reader, talk = open_conversation(place, **asked, without=without, online=online)
    made, found = encoders(reader, talk, folders), []
    if online:
        for turn in turns_as_they_come(reader, talk, made, without, sure, coverage):
            found.append(turn)
            yield "  ".join(str(cell) for cell in _shown(turn).iloc[0] if cell != "")
        turns = pd.concat(found, ignore_index=True)
    else:
        rows = masked(vectors(reader, talk, made=made), without)
        turns = spread.add_seeds(place, reader, rows, turn_predictions(reader, talk, rows, sure, coverage))
        yield as_text(turns)
    said = notes(reader, talk, turns, sure, coverage)
    own = below(OUTPUT / "results", reader.trained["place"], "the place that the checkpoint was trained at")
    paths = write(turns, talk.name, said, out or own / "predictions", talk.recording)
    yield "\n".join(["", *said, *map(str, paths)])
