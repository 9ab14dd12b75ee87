"""Each text encoder fitted to a fold: made again from its training part, to see what it was fitted to."""

from collections.abc import Iterator
from types import SimpleNamespace

import pandas as pd

from lpgnet.beyond.audit.findings import FAULT, Finding, fine, unchecked
from lpgnet.beyond.readings import crossfit
from lpgnet.config import FINETUNE
from lpgnet.features.extract import FoldFit, fitted_recipe, training_part
from lpgnet.features.finetune import identity
from lpgnet.labels import digest, folds, labelled, manifest

FIT_AGAIN = "Delete the set's entry and folder, and run notebook 01: it fits the encoder to the training part."
CROSS_AGAIN = "Delete the set's entry and folder, and run notebook 07."


def check_fits(index: dict, table: pd.DataFrame, base: str) -> Iterator[Finding]:
    """Every set of a text encoder fitted to a fold: was it fitted to that fold's training part, and no more?

    base: key of the encoder's published set.  A fit's identity is a hash over all that it was told, so it is
    made again from the utterance table; where it differs, other parts are tried, to name what was seen.
    """
    sets = index["sets"]
    for key in sorted(k for k in sets if k.startswith(f"{base}/")):
        check, parts = f"fit {key.removeprefix(f'{base}/')}", key.removeprefix(f"{base}/").split("/")
        if base not in sets:
            yield unchecked(check, f"the store has no {base} to fit from")
        elif parts[0] not in FINETUNE or parts[4:] not in ([], ["crossfitted"]) or len(parts) < 4:
            yield unchecked(check, "its key names no profile, labels, fold and validation")
        elif parts[4:]:
            yield _composed(check, FoldFit(*parts[:4]), sets, base, table)
        else:
            yield _fit(check, FoldFit(*parts), sets[base], sets[key], table)


def _fit(check: str, fit: FoldFit, base: dict, about: dict, table: pd.DataFrame) -> Finding:
    split = _split(fit)
    try:
        own = training_part(table, split, fit)
    except ValueError as error:
        return Finding(check, FAULT, "the fold that it names can't be made", str(error), FIT_AGAIN)

    def made(rows: pd.DataFrame) -> str:
        return fitted_recipe(_identity(base, about, rows, fit, table), table)

    if made(own) == about["recipe"]:
        return fine(check, f"fitted to the {len(own)} training utterances of its fold, and no other")
    for what, rows in _others(table, split, fit):
        if made(rows) == about["recipe"]:
            return Finding(check, FAULT, f"the encoder was fitted to {what}", f"{len(rows)} utterances", FIT_AGAIN)
    found = "it was not fitted to its fold's training part, by the hash of what it was told"
    detail = "Nor to the training part with validation or test, nor to another fold's: other utterances, texts,"
    detail += " labels, settings or another base than the store has now."
    return Finding(check, FAULT, found, detail, FIT_AGAIN)


def _split(fit: FoldFit) -> str:
    return "official" if fit.fold == "official" else "loso"  # its folds are named as the paper's one is


def _identity(base: dict, about: dict, rows: pd.DataFrame, fit: FoldFit, table: pd.DataFrame) -> str:
    encoder = SimpleNamespace(name=base["encoder"], version=base["version"])
    kept = digest(manifest(table, fit.labels))
    return identity(encoder, rows, FINETUNE[fit.profile], kept, about["fitted_by"])


def _composed(check: str, fit: FoldFit, sets: dict, base: str, table: pd.DataFrame) -> Finding:
    """A cross-fitted set: was each group of the training part read by a fit without it?"""
    own, key = f"{base}/{fit.key}", f"{base}/{check.removeprefix('fit ')}"
    if own not in sets:
        return unchecked(check, f"the store has no {own}, which it was made beside")
    try:
        parts = crossfit.parts_of(table, _split(fit), fit)
        rows = table[["id"]].assign(reader=crossfit.readers_of(table, _split(fit), fit))
    except ValueError as error:
        return Finding(check, FAULT, "the fold that it names can't be made", str(error), FIT_AGAIN)
    told = {group: _identity(sets[base], sets[own], part, fit, table) for group, part in parts.items()}
    if crossfit.recipe(sets[own]["recipe"], rows, told) == sets[key]["recipe"]:
        return fine(check, f"each of {len(told)} groups was read by an encoder fitted to the others")
    found = "its training part was not read by encoders fitted without it, by the hash of what they were told"
    return Finding(check, FAULT, found, "Or of other texts, labels or settings than now.", CROSS_AGAIN)


def _others(table: pd.DataFrame, split: str, fit: FoldFit) -> Iterator[tuple[str, pd.DataFrame]]:
    """What else an encoder may have been fitted to, by name."""
    kept, classes = manifest(table, fit.labels), labelled(table, fit.labels)
    every = folds(kept, split, fit.validation)
    mine = next(fold for fold in every if fold.name == fit.fold)

    def rows(*dialogues: str) -> pd.DataFrame:
        mask = table["dialogue"].isin(dialogues) & classes.notna()
        return table.assign(label=classes)[mask][["id", "text", "label"]]

    yield "its fold's training and test part", rows(*mine.train, *mine.test)
    yield "its fold's training and validation part", rows(*mine.train, *mine.validation)
    yield "all utterances, the test part among them", rows(*mine.train, *mine.validation, *mine.test)
    yield "its fold's test part", rows(*mine.test)
    for fold in every:
        if fold.name != fit.fold:
            yield f"the training part of another fold, {fold.name}", rows(*fold.train)
