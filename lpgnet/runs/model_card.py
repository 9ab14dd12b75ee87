"""The model card of a checkpoint: what it is, what it was made from, and what it is not for."""

from lpgnet.labels import is_simulated
from lpgnet.machine.code import swhids

SIMULATED = (
    "Trained on the simulated corpus (synthetic speech): shows that the machinery works, says nothing about emotion."
)
TERMS = {
    "simulated": "The weights were learnt from synthetic speech and carry this package's licence (MIT).",
    "iemocap": "IEMOCAP is licensed by USC for research: ask there before handing on weights learnt from it.",
    "meld": "MELD is made from a television series and is GPL-3.0: its terms bear on weights learnt from it.",
}
WHOLE = "**Context.** A turn is read with its whole conversation, so its prediction moves as turns come."
CAUSAL = "**Context.** A turn is read with those before it alone, so its prediction stands once it is there."
CARD = """# LPGNet, experiment `{experiment}`

Emotion of each turn of a conversation from text and audio: LPGNet (He & Xiao 2025,
doi:10.20944/preprints202508.0678.v1) as rerun by the `lpgnet` compendium, version {version}. It loads
without a network:

    from lpgnet.runs import checkpoint
    reader = checkpoint.load("FOLDER")

**{origin}**

| | |
|---|---|
| corpus, profile, split, fold | {corpus}, {profile}, {split}, {fold} |
| labels | {labels}: {classes} |
| seed, key of the run | {seed}, {key} |
| code that wrote this card, by SWHID | {swhids} |
{encoders}
| model | {model} |
| training | {training} |
| temperature, fitted on validation | {temperature:.4f} |

Vectors must come from exactly these encoders. The epoch is the one with the best weighted F1 on validation;
`config.json` names the dialogues that it was trained and chosen on. This card states no score: the record of
the run has them.

**Missing text or audio.** A turn without one has the mean of the training part in its place. {moddrop}
The temperature was fitted with both there: with turns missing, probabilities are less well calibrated.

{reads}

**Not for** judging a person. Labels are raters' majorities on acted or scripted talk, or a simulator's.

**Licence.** {terms}
"""


def origin(trained: dict) -> str:
    """What every output of a model says of it.  trained: as `checkpoint.save` fills it."""
    if is_simulated(trained["corpus"]):
        return SIMULATED
    return f"Trained on {trained['corpus']}, labels {trained['labels']}."


def card(reader) -> str:
    """The model card of a `checkpoint.Reader`, in Markdown."""
    about = reader.trained
    train = about["config"]["train"]
    encoders = [f"| {m} encoder | {e['encoder']}, version {e['version']} |" for m, e in reader.encoders.items()]
    return CARD.format(
        **about,
        swhids=", ".join(swhids()),
        classes=", ".join(reader.classes),
        origin=origin(about),
        encoders="\n".join(encoders),
        model=_listed(about["config"]["model"]),
        training=_listed(train | about["config"]["loss"]),
        temperature=reader.temperature,
        moddrop=_moddrop(train["moddrop"]),
        reads=CAUSAL if reader.causal else WHOLE,
        terms=TERMS.get(about["corpus"], "That of whoever made the features: see their source."),
    )


def _moddrop(share: float) -> str:
    if not share:
        return "No turn lost one in training; `full_moddrop` is the model whose turns did."
    return f"In training {share:.0%} of the dialogues lost turns of one modality, at a rate drawn for each."


def _listed(values: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
