"""Claims whose words have to be judged: means of ten runs, "clear", "without loss", what the weights show."""

import math

from lpgnet.beyond.audit.paper_kinds import (
    ACC,
    CFIA,
    F1,
    FAILS,
    FRAME,
    FRAME_F1,
    FULL,
    FULL_F1,
    HOLDS,
    KEYS,
    OPEN,
    Cell,
    Found,
    Tables,
    attainable,
    gap,
    test_size,
    three,
    verdict,
)

UNLIKELY = 1e-3


def spread(tables: Tables) -> Found:
    stated = tables[2].dropna(subset="f1_std")["model"].tolist()
    own = [model for model in stated if model.startswith("LPGNet")]
    share, total = FULL.of(tables) / 100, test_size(tables)
    error = 100 * math.sqrt(share * (1 - share) / total)
    note = f"A standard deviation is printed for {', '.join(stated) or 'no row'} only; without one for the"
    note += " paper's own rows no difference can be tested. One binomial standard error of an accuracy on"
    note += f" {total} utterances is {error:.2f} points."
    return Found("10 runs", f"{len(own)} own rows with a spread", HOLDS if own else OPEN, note)


def averages(tables: Tables) -> Found:
    """A mean of ten runs is a multiple of 1/12410; it looks like one of 1/1241 one time in eight."""
    total, numbers = test_size(tables), own_accuracies(tables)
    whole = [value for value in numbers if attainable(value, total)]
    n, k, chance = len(numbers), len(whole), min(1.0, total / 1e4)  # a hundredth of a point of `total`
    tail = sum(math.comb(n, i) * chance**i * (1 - chance) ** (n - i) for i in range(k, n + 1))
    shown = ", ".join(f"{v:.2f} = {round(v / 100 * total)}/{total}" for v in dict.fromkeys(whole))
    others = ", ".join(f"{v:.2f}" for v in numbers if v not in whole)
    note = f"{k} of the {n} four-class accuracies of the paper's own runs are whole numbers of its {total} "
    note += f"test utterances: {shown}; not: {others or 'none'}. Single runs always are, and their bests;"
    note += f" a mean of ten looks like one with chance {chance:.3f}, so {k} or more of {n} with"
    note += f" {tail:.1g}."
    return Found("means of 10", f"{k} of {n} are whole counts", FAILS if tail < UNLIKELY else OPEN, note)


def own_accuracies(tables: Tables) -> list[float]:
    """The four-class accuracies that the paper says are its own runs', LPGNet's each once."""
    two = tables[2].set_index("model")[ACC]
    mine = [two[m] for m in two.index if m == "Linear" or m.startswith("LPGNet")]
    four = tables[7].query("classes == 4").set_index("model")["overall"]
    mine += [*tables[3][ACC], *tables[6][ACC], four["LPGNet"]]
    return [*dict.fromkeys(mine), four["SDT*"]]  # which prints the same number as an ablation


# Table 6


def lower_kl(tables: Tables) -> Found:
    """Rows that differ in lambda_KL alone show what it does; the others can't."""
    lines = tables[6].sort_values("lambda_kl").to_dict("records")
    pairs = [(a, b) for i, a in enumerate(lines) for b in lines[i + 1 :] if _others(a) == _others(b)]
    note = "; ".join(
        f"λ_KL {a['lambda_kl']} to {b['lambda_kl']} at λ_task {a['lambda_task']}, λ_CE {a['lambda_ce']}: "
        f"{b[ACC] - a[ACC]:+.2f} points"
        for a, b in pairs
    )
    direct = [(a, b) for a, b in pairs if (a["lambda_kl"], b["lambda_kl"]) == (0.3, 1.0)]
    if not direct:
        note += ". 0.3 is never compared with 1.0 at equal other weights: λ_task rises with it."
        return Found("0.3", "0.3 never alone against 1.0", OPEN, note)
    return Found("0.3", "0.3 against 1.0", verdict(all(a[ACC] > b[ACC] for a, b in direct)), f"{note}.")


def _others(line: dict) -> tuple:
    return line["lambda_task"], line["lambda_ce"]


def chosen_on(tables: Tables) -> Found:
    first, second = tables[6][ACC].nlargest(2)
    total, lead = test_size(tables), first - second
    note = f"Table 6 prints one set of scores, the headline's ({first:.2f}), and no validation part is"
    note += f" counted in Table 1. The best two: {gap(first, second)} points, {lead / 100 * total:.0f} of"
    note += f" {total} utterances. Chosen by these numbers, the headline is a maximum on the test set."
    return Found("not stated", "test scores only", OPEN, note)


# The words


def two_best(tables: Tables) -> Found:
    frame = tables[2]
    top = frame[frame["citation"].notna() & (frame["model"] != "Linear")].nlargest(2, ACC)
    found = " and ".join(f"{m} {a:.2f}" for m, a in top[["model", ACC]].itertuples(index=False))
    true = set(top["model"]) == {"CFIA", "MemoCMT"}
    return Found("the two best", found, verdict(true), f"The two highest quoted accuracies of Table 2: {found}.")


def same_encoders(tables: Tables) -> Found:
    frame = tables[2].set_index("model")[["upstream_audio", "upstream_text"]]
    mine, theirs = (", ".join(frame.loc[cell.row[0]]) for cell in (FULL, CFIA))
    note = f"Table 2 names {theirs} for CFIA, {mine} for LPGNet. Names only: on what CFIA's BERT was"
    note += " tuned, if at all, the paper doesn't say."
    return Found("the same", theirs, verdict(mine == theirs), note)


def whose_linear(tables: Tables) -> Found:
    cited = {n: tables[n].set_index(KEYS[n][0]).at["Linear", "citation"] for n in (2, 4)}
    note = f"The text says the paper built it; Table 2 cites [{cited[2]}] for it, as Table 4 cites"
    note += f" [{cited[4]}] for audio alone. That is the paper of emotion2vec, which has no text: whether"
    note += " the number is run or quoted is not said."
    return Found("the paper's own", f"cited as [{cited[2]}]", OPEN, note)


def no_loss(tables: Tables) -> Found:
    numbers = [cell.of(tables) for cell in (FULL, FRAME, FULL_F1, FRAME_F1)]
    frame, lost = tables[3], numbers[0] - numbers[1]
    parts = three("LPGNet").of(tables) - frame[frame["group"].isin(["lpia", "fusion"])][ACC].min()
    note = f"At frame level the accuracy is lower by {gap(*numbers[:2])} points, F1 by {gap(*numbers[2:])};"
    note += f" the costliest removed part of Table 3 costs {parts:.2f}."
    return Found("no loss", f"{-lost:+.2f}", verdict(lost <= 0), note)


def clear_drop(tables: Tables) -> Found:
    full, total = three("LPGNet").of(tables), test_size(tables)
    drops = {v: full - three(v).of(tables) for v in ("w/o inter attention", "w/o intra attention")}
    note = "; ".join(f"{v}: {d:.2f} points, {d / 100 * total:.0f} utterances" for v, d in drops.items())
    error = math.sqrt(full * (100 - full) / total)
    note += f". One binomial standard error of an accuracy is {error:.2f} points; no spread, no test."
    return Found("clear", ", ".join(f"{d:.2f}" for d in drops.values()), OPEN, note)


def each_contributes(tables: Tables) -> Found:
    frame = tables[3].set_index("variant")
    drops = frame.loc["LPGNet", [ACC, F1]] - frame[frame["group"].isin(["lpia", "fusion"])][[ACC, F1]]
    note = "; ".join(f"{v}: accuracy -{a:.2f}, F1 -{f:.2f}" for v, a, f in drops.itertuples())
    lower = (drops > 0).all(axis=1)
    found = f"{lower.sum()} of {len(lower)} lower"
    return Found("all lower", found, verdict(bool(lower.all())), f"{note}. By the printed numbers alone.")


def gains_over_linear(tables: Tables) -> Found:
    audio = [Cell(4, (name,)).of(tables) for name in ("LPGNet", "Linear")]
    text = "printed" if "Linear" in set(tables[5]["downstream"]) else "no linear row"
    note = f"Audio, Table 4: {gap(*audio)} points, though LPGNet sees the dialogue and Linear one"
    note += f" utterance. Text, Table 5: {text}."
    return Found("gains", f"{audio[0] - audio[1]:+.2f} audio; text: {text}", OPEN, note)


def quoted_peers(tables: Tables) -> Found:
    places: dict[str, list[str]] = {}
    for number in (2, 4, 5):
        for line in tables[number].dropna(subset=["citation", ACC]).to_dict("records"):
            name = f"[{line['citation']}] {line[KEYS[number][0]]}"
            places.setdefault(name, []).append(f"Table {number} {line[ACC]:.2f}")
    twice = {name: found for name, found in places.items() if len(found) > 1}
    note = "; ".join(f"{name}: {', '.join(found)}" for name, found in twice.items())
    note += ". Table 2 has audio and text, 4 audio alone, 5 text alone, so no number should recur."
    note += " Only the sources can confirm them, and their splits differ."
    return Found("as quoted", f"{len(twice)} stand in two tables", OPEN, note)
