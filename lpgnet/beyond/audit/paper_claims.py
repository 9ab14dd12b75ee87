"""The claims of the paper, in its order: the words, where they stand, the check, and what it is given.

In square brackets stand our words, where a table says something by its numbers alone.
"""

from lpgnet.beyond.audit import paper_arithmetic as arithmetic
from lpgnet.beyond.audit import paper_wording as wording
from lpgnet.beyond.audit.paper_kinds import (
    CFIA,
    F1,
    FRAME,
    FRAME_F1,
    FULL,
    FULL_F1,
    Cell,
    best,
    difference,
    equal,
    over,
    relative,
    restated,
    rows,
    seven,
    three,
    unprinted,
)

LINEAR = Cell(2, ("Linear",))
KEPT = (1.5, 1.0, 0.3)  # the weights of Table 6 that the paper keeps
OURS = ("LPGNet (Frame)", "LPGNet (Utterance)")
TEXT, AUDIO = Cell(5, ("LPGNet",)), Cell(4, ("LPGNet",))  # alone

COUNTED = "`results/<corpus>/efficiency.csv` counts our rebuilds."
SPEAKERS = (
    "LPGNet is never run with a speaker embedding, seen speakers are never set against unseen ones, SDT* "
    "differs in far more, and the test part is one session with two speakers. Our `full_speaker`, "
    "`sdt_no_speaker` and `--split loso` try it."
)
NEITHER = "As F1 it would be macro F1, as binary accuracy the metric of section 4.1: neither fits."
RECALL = "Accuracy is this mean exactly, over any number of runs, so the columns aren't recalls of the same runs."

CLAIMS: tuple[tuple, ...] = (
    ("LPGNet reaches over 87% accuracy and F1-score in 4-class emotion classification", "Abstract, 1",
     over, 87, FULL, FULL_F1, seven("LPGNet", 4)),
    ("It outperforms strong baseline models while using fewer parameters", "Abstract, 1, 5",
     unprinted, "fewer", ("param", "flop"), f"Nor does the text count any. {COUNTED}"),
    ("showing better generalization across speakers", "Abstract, 1", unprinted, "better", ("speaker",), SPEAKERS),
    ("significantly lowering inference cost and parameter size", "2.3",
     unprinted, "lower", ("latency", "param", "cost"), COUNTED),
    ("we obtain a total of 5,531 annotated utterances", "4.1", restated, 5531, Cell(1, ("total",), "total")),
    *((f"[Table 1, row {split}: the classes add up to the total]", "Table 1", arithmetic.sums, split)
      for split in ("train_val", "test", "total")),
    ("[Table 1: every column adds up to its last row]", "Table 1", arithmetic.columns),
    ("[Table 1, row train_val: these are the counts of Sessions 1 to 4, excited merged into happy]", "Table 1",
     arithmetic.official_row, "train_val", "1234"),
    ("[Table 1, row test: these are the counts of Session 5, excited merged into happy]", "Table 1",
     arithmetic.official_row, "test", "5"),
    ("we compute results using a one-vs-all classification strategy for each emotion class", "4.1, Table 7",
     arithmetic.one_vs_all, 4),
    ("[the same metric for six classes]", "4.1, Table 7", arithmetic.one_vs_all, 6),
    ("The final scores are then averaged across all classes ... giving equal weight to each class", "4.1, Table 7",
     arithmetic.overall, arithmetic.unweighted, NEITHER),
    ("average results over 10 independent runs for robustness", "4.3", wording.spread),
    ("we report average results over 10 independent runs", "4.3", wording.averages),
    ("Among existing methods, CFIA and MemoCMT show strong performance", "4.4", wording.two_best),
    ("CFIA achieving 83.37% accuracy", "4.4", restated, 83.37, CFIA),
    ("[CFIA] using the same BERT and Emotion2vec features as our model", "4.4", wording.same_encoders),
    ("LPGNet (Utterance-level) ... with 87.99% accuracy", "4.4", restated, 87.99, FULL),
    ("and 87.96% F1-score", "4.4", restated, 87.96, FULL_F1),
    ("LPGNet (Utterance-level) achieves the highest performance", "4.4",
     best, FULL, rows(2, ("LPGNet (Utterance)",)), "The others' numbers are quoted, with splits of their own."),
    ("a relative improvement of over 4% compared to CFIA", "4.4", relative, 4, FULL, CFIA),
    ("This baseline reaches only 81.68% accuracy", "4.4", restated, 81.68, LINEAR),
    ("which is 6.31% lower than our full model", "4.4", difference, 6.31, FULL, LINEAR),
    ("we build a minimal baseline using a simple linear classifier", "4.4, Table 2", wording.whose_linear),
    ("LPGNet (Frame) still achieves strong results with 83.87% accuracy", "4.4", restated, 83.87, FRAME),
    ("and 83.68% F1-score [frame level]", "4.4", restated, 83.68, FRAME_F1),
    ("outperforming most baselines ... existing methods across both utterance- and frame-level settings", "4.4",
     best, FRAME, rows(2, OURS), "The frame level is the lower of the two."),
    ("our model can generalize across different input granularities without losing effectiveness", "4.4",
     wording.no_loss),
    ("removing inter-modal attention causes a 1.77% decrease in accuracy", "4.5",
     difference, 1.77, three("LPGNet"), three("w/o inter attention")),
    ("removing intra-modal attention results in a 0.96% drop", "4.5",
     difference, 0.96, three("LPGNet"), three("w/o intra attention")),
    ("eliminating either block leads to a clear performance drop", "4.5", wording.clear_drop),
    ("Removing this component [the FFN] leads to a 1.12% drop in F1-score", "4.5",
     difference, 1.12, three("LPGNet", F1), three("w/o position-wise FFN", F1),
     ("The accuracy is what falls by so much", three("LPGNet"), three("w/o position-wise FFN"))),
    ("each sub-component contributes to the model's ability", "4.5", wording.each_contributes),
    ("[without dual-gated fusion] a performance drop in F1-score from 87.96%", "4.5",
     restated, 87.96, three("LPGNet", F1)),
    ("to 86.59%", "4.5", restated, 86.59, three("w/o dual-gated fusion", F1)),
    ("our model consistently outperforms other ... audio-only approaches", "4.5, Table 4",
     best, AUDIO, rows(4, ("LPGNet",), upstream="emotion2vec"), "Among the rows with emotion2vec."),
    ("our model consistently outperforms other text-only ... approaches", "4.5, Table 5",
     best, TEXT, rows(5, ("LPGNet",)), "All rows name BERT."),
    ("Compared with simpler baselines such as linear classifiers ... noticeable accuracy gains", "4.5, Tables 4, 5",
     wording.gains_over_linear),
    ("Multimodal fusion significantly improves performance over each unimodal variant", "4.5, Table 3",
     best, three("LPGNet"), rows(3, group="modality"), "Higher; whether significantly, no test says."),
    ("[Text alone is one model in Tables 3 and 5]", "Tables 3, 5", equal, three("Text"), TEXT),
    ("[Audio alone is one model in Tables 3 and 4]", "Tables 3, 4", equal, three("Audio"), AUDIO),
    ("[LPGNet's accuracy is one number in Tables 2, 3 and 6]", "Tables 2, 3, 6",
     equal, FULL, three("LPGNet"), Cell(6, KEPT)),
    ("[LPGNet's F1 is one number in Tables 2, 3 and 6]", "Tables 2, 3, 6",
     equal, FULL_F1, three("LPGNet", F1), Cell(6, KEPT, F1)),
    ("[LPGNet's four-class accuracy is one number in Tables 2 and 7]", "Tables 2, 7", equal, FULL, seven("LPGNet", 4)),
    ("a lower KL-divergence weight λ_KL = 0.3 yields better generalization", "4.5, Table 6", wording.lower_kl),
    ("keeping λ_CE = 1.0 ensures that unimodal branches receive sufficient intermediate supervision", "4.5, Table 6",
     best, Cell(6, (1.0, 1.0, 1.0)), lambda t: {"λ_CE = 0": Cell(6, (1.0, 0.0, 1.0)).of(t)}),
    ("[Table 6: the weights 1.5/1.0/0.3 were chosen without the test set]", "4.5, Table 6", wording.chosen_on),
    ("[Table 7: class columns are recalls, weighted by Table 1's test row and majority-6]", "Table 7",
     arithmetic.overall, arithmetic.by_table_1, RECALL),
    ("[the same by the release's counts of Session 5, and erc-6]", "Table 7",
     arithmetic.overall, arithmetic.by_release, RECALL),
    ("[Table 7: the class columns are F1 scores]", "Table 7", arithmetic.class_columns_are_f1),
    ("[Table 7: which six-class label set is tested]", "Table 7", arithmetic.six_test_set),
    ("[LPGNet is above SDT* on four classes]", "Table 7",
     best, seven("LPGNet", 4), lambda t: {"SDT*": seven("SDT*", 4).of(t)}),
    ("[LPGNet is above SDT* on six classes]", "Table 7",
     best, seven("LPGNet", 6), lambda t: {"SDT*": seven("SDT*", 6).of(t)}),
    ("[Quoted methods have the numbers of their own papers]", "Tables 2, 4, 5", wording.quoted_peers),
)  # fmt: skip
