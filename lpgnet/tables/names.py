"""What an experiment is called where people read; its own name stays that of records and commands."""

from lpgnet.experiments import CONTEXTS, EXPERIMENTS, READINGS, ROTATED, TABLED

ALONE = {"text": "text alone", "audio": "audio alone"}
PLAIN = {
    "full": "LPGNet",
    "full_by_query": "LPGNet, paths grouped by query",
    "linear": "Linear classifier",
    "bigru": "BiGRU",
    "frame": "LPGNet on frames",
    **{f"{m}_only": f"LPGNet, {words}" for m, words in ALONE.items()},
    **{f"linear_{m}": f"Linear classifier, {words}" for m, words in ALONE.items()},
    "no_inter": "LPGNet without inter-modal attention",
    "no_intra": "LPGNet without intra-modal attention",
    "no_ffn": "LPGNet without position-wise FFN",
    "no_gates": "LPGNet without gates",
    "sdt": "SDT*",
    "sdt_no_speaker": "SDT* without speakers",
    "full_speaker": "LPGNet with speakers",
    "full_frozen": "LPGNet, text encoder as published",
    "text_only_frozen": "LPGNet, text alone, encoder as published",
    "full_6": "LPGNet, six classes",
    "sdt_6": "SDT*, six classes",
    "full_moddrop": "LPGNet trained with missing turns",
}
PLAIN |= {
    name: f"LPGNet, loss weights {run.loss.task:g} / {run.loss.ce:g} / {run.loss.kl:g}"
    for name, run in TABLED.items()
    if name.startswith("lambda_")
}
for _other in (*READINGS, *CONTEXTS, *ROTATED):
    _says = _other.says.removeprefix(f"{PLAIN[_other.default]} ")
    PLAIN.setdefault(_other.experiment, f"{PLAIN[_other.default]} ({_says})")
PLAIN |= {f"{name}_crf": f"{PLAIN[name]} and a CRF" for name in ("linear", "full")}
LABELS = {
    "majority-4": "four classes by majority vote; excited counts as happy",
    "majority-6": "six classes by majority vote",
    "erc-6": "six classes of the ERC literature: majority-6 and 53 turns without a majority, as happy",
    "meld-7": "MELD's seven classes",
    "own": "the file's own classes",
}


def plain_name(experiment: str) -> str:
    """For readers; a name that is none of ours stays as it is."""
    return PLAIN.get(experiment, experiment)


def differs(experiment: str) -> str:
    """In which settings an experiment differs from `full`, or what model it is."""
    run, full = EXPERIMENTS[experiment].as_dict(), EXPERIMENTS["full"].as_dict()
    other = run["model"]["kind"] != full["model"]["kind"]
    parts = ("data",) if other else tuple(full)
    changes = [f"{k} = {v}" for part in parts for k, v in run[part].items() if v != full[part][k]]
    return ", ".join([run["model"]["kind"]] * other + changes)
