"""What each figure shows, for those who can't see it and for those who look for it."""

ALT = {
    "architecture": "Fig. 1 of the paper, drawn anew: from text and audio features through four attention "
    "paths, gates and fusion to classifier, students and the total loss, with the number of each equation.",
    "table1_classes": "Bars: utterances per class in training and test, ours beside the printed ones.",
    "table2_comparison": "Points: accuracy and F1 of every model of Table 2, ours with 95 % intervals, the "
    "paper's number as a black tick.",
    "table3_ablation": "Bars: accuracy and F1 of the ablations of Table 3, the paper's as a black tick.",
    "table4_audio": "Bars: accuracy from audio alone, quoted and ours.",
    "table5_text": "Bars: accuracy from text alone, quoted and ours.",
    "table6_weights": "Points: accuracy and F1 for each set of loss weights, ours with 95 % intervals.",
    "table7_by_class": "Points: recall of each class for LPGNet and SDT*, four classes and six.",
    "classes": "Bars: recall and F1 of each class for LPGNet, text alone, audio alone and SDT*, with 95 % "
    "intervals over seeds.",
    "confusion_full": "Confusion matrix of LPGNet on the place's own classes, all seeds summed.",
    "confusion_sdt": "Confusion matrix of SDT* on the same classes, all seeds summed.",
    "confusion_full_6": "Confusion matrix of LPGNet on six classes, all seeds summed.",
    "confusion_sdt_6": "Confusion matrix of SDT* on six classes, all seeds summed.",
    "curves_full": "Lines: training loss, and F1 on validation and test, by epoch; band: one standard "
    "deviation over seeds.",
    "selection_gap": "Points: each experiment's score at the last epoch, the best on validation, the best on "
    "test; at the right what choosing on the test set adds.",
    "slices": "Points: accuracy on parts of the test set for LPGNet and the models that question it.",
    "gates": "Points: how much of text and of audio the fusion takes, by class.",
    "attention": "Four heat maps: how much each turn of a dialogue attends to each other turn, by path.",
    "embedding": "Two scatter plots of the fused features, PCA and t-SNE, coloured by emotion.",
    "calibration": "Two reliability diagrams: how often LPGNet is right at each confidence, before and after "
    "temperature scaling.",
    "cost": "Points: accuracy against parameters and against multiply-adds, one per model.",
    "readings": "Each reading of the paper run the other way: difference and 95 % interval.",
    "context": "Accuracy with the turns of a dialogue as they are, shuffled, and dealt out anew.",
    "missing": "Accuracy as more of one modality is missing.",
}
