"""What stands in each of the paper's tables: a tuple of rows in its order.

A row is quoted from the paper or ours, and several tables share a run: Table 2 "LPGNet (Utterance)",
Table 3 "LPGNet", Table 6 "1.5/1.0/0.3" and Table 7 "LPGNet" are all `full`.
"""

from dataclasses import dataclass

SIMULATOR = "Best reachable (true generative state)"  # where the corpus knows its own truth
BY_QUERY = "LPGNet, paths by query (R7)"
BOTH = {"accuracy": "accuracy", "f1": "weighted_f1"}  # column -> score
ACCURACY = {"accuracy": "accuracy"}


@dataclass(frozen=True)
class Row:
    """One line: `key` names it in the paper's columns; quoted where it has no experiment."""

    key: tuple
    experiment: str | None = None
    printed: bool = True  # False: ours, the paper has no such row


@dataclass(frozen=True)
class Table:
    """`key`: the printed columns that tell rows apart; `shows`: encoders worth a column."""

    key: tuple[str, ...]
    rows: tuple[Row, ...]
    metrics: dict[str, str]
    shows: tuple[str, ...] = ()


def ours(*key, experiment: str) -> Row:
    """A row of our own, below the paper's."""
    return Row(key, experiment, printed=False)


QUOTED = ("GatedxLSTM", "MER-HAN", "MMI-MMER", "MGCMA", "MEP", "Bi-GRU", "MemoCMT")
TABLES: dict[int, Table] = {
    2: Table(
        ("model",),
        (
            *(Row((name,)) for name in QUOTED),
            Row(("Linear",), "linear"),
            Row(("CFIA",)),
            Row(("LPGNet (Frame)",), "frame"),
            Row(("LPGNet (Utterance)",), "full"),
            ours(BY_QUERY, experiment="full_by_query"),
            ours("LPGNet, text encoder frozen (R18)", experiment="full_frozen"),
            ours("Bi-GRU (ours)", experiment="bigru"),
        ),
        BOTH,
        ("audio", "text"),
    ),
    3: Table(
        ("variant",),
        (
            Row(("LPGNet",), "full"),
            Row(("Text",), "text_only"),
            Row(("Audio",), "audio_only"),
            Row(("w/o inter attention",), "no_inter"),
            Row(("w/o intra attention",), "no_intra"),
            Row(("w/o position-wise FFN",), "no_ffn"),
            Row(("w/o dual-gated fusion",), "no_gates"),
            ours(BY_QUERY, experiment="full_by_query"),
        ),
        BOTH,
    ),
    4: Table(
        ("upstream", "downstream"),
        (
            Row(("Wav2Vec", "EmotionNAS")),
            Row(("HuBERT", "MSTR")),
            Row(("emotion2vec", "Linear")),
            Row(("emotion2vec", "CFIA-Net")),
            Row(("emotion2vec", "LPGNet"), "audio_only"),
            ours(None, "Linear (ours)", experiment="linear_audio"),
        ),
        ACCURACY,
        ("audio",),
    ),
    5: Table(
        ("upstream", "downstream"),
        (
            Row(("BERT", "MER-HAN")),
            Row(("BERT", "CwGHP")),
            Row(("BERT", "MemoCMT")),
            Row(("BERT", "LPGNet"), "text_only"),
            ours(None, "Linear (ours)", experiment="linear_text"),
            ours(None, "LPGNet, encoder frozen (R18)", experiment="text_only_frozen"),
        ),
        ACCURACY,
        ("text",),
    ),
    6: Table(
        ("lambda_task", "lambda_ce", "lambda_kl"),
        (
            Row((1.0, 1.0, 1.0), "lambda_1_1_1"),
            Row((1.0, 0.0, 1.0), "lambda_1_0_1"),
            Row((1.0, 1.0, 0.0), "lambda_1_1_0"),
            Row((1.5, 1.0, 0.0), "lambda_1p5_1_0"),
            Row((1.5, 1.0, 0.3), "full"),
            ours(1.0, 0.0, 0.0, experiment="lambda_1_0_0"),
            ours(1.5, 0.0, 0.0, experiment="lambda_1p5_0_0"),
        ),
        BOTH,
    ),
    7: Table(
        ("model", "classes"),
        (
            Row(("LPGNet", 4), "full"),
            Row(("SDT*", 4), "sdt"),
            Row(("LPGNet", 6), "full_6"),
            Row(("SDT*", 6), "sdt_6"),
            ours(BY_QUERY, 4, experiment="full_by_query"),
            ours("LPGNet + speakers", 4, experiment="full_speaker"),
            ours("SDT* without speakers", 4, experiment="sdt_no_speaker"),
        ),
        {"overall": "accuracy"},  # and one column per class, before it
    ),
}
