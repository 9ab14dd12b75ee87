"""The best score that the simulated corpus allows: an observer who knows all but states and kinds.

It knows each dialogue's mix, each speaker's voice, every chance in `Knobs`, who speaks when, each line's
template and each turn's z itself, and so bounds any model that hears only the synthesised z.
"""

import numpy as np

from lpgnet.corpora.simulated.lines import STATES, likelihoods
from lpgnet.corpora.simulated.plan import MIX, Dialogue, Knobs, voice_centre
from lpgnet.labels import PROTOCOLS

NONE = len(STATES)  # the last emotion of somebody who has not spoken yet


def posterior(dialogue: Dialogue, knobs: Knobs, neighbours: bool = True) -> np.ndarray:
    """(turns, 6) P(state | the whole dialogue), exact; from the turn alone without neighbours."""
    evidence = _evidence(dialogue, knobs)
    if not neighbours:
        return _normal(evidence * MIX)
    who = [turn.speaker for turn in dialogue.turns]
    step = _transition(dialogue.mix, knobs)
    forward, states = [], np.zeros((NONE + 1, NONE + 1))  # last emotion of F, of M
    states[NONE, NONE] = 1.0
    for speaker, seen in zip(who, evidence, strict=True):
        moved = _turned(np.einsum("op,ope->ep", _turned(states, speaker), step), speaker)
        states = _weighed(moved, seen, speaker)
        states /= states.sum()
        forward.append(states)
    behind = np.ones_like(states)
    found = np.zeros_like(evidence)
    for at in range(len(who) - 1, -1, -1):
        both = _turned(forward[at] * behind, who[at])
        found[at] = both.sum(axis=1)[:NONE]
        ahead = _turned(_weighed(behind, evidence[at], who[at]), who[at])
        behind = _turned(np.einsum("ep,ope->op", ahead, step), who[at])
        behind /= behind.max()
    return _normal(found)


def confusions(
    dialogues: list[Dialogue], knobs: Knobs, protocol: str, neighbours: bool = True
) -> dict[str, list[list[int]]]:
    """session -> confusion matrix of the best guess (rows gold, columns predicted), labelled turns."""
    rule = PROTOCOLS[protocol]
    group = np.array([[rule.codes.get(s) == c for c in rule.classes] for s in STATES], float)  # (6, C)
    tables: dict[str, np.ndarray] = {}
    for dialogue in dialogues:
        guess = (posterior(dialogue, knobs, neighbours) @ group).argmax(axis=1)
        table = tables.setdefault(str(dialogue.session), np.zeros((len(rule.classes),) * 2, int))
        for turn, predicted in zip(dialogue.turns, guess, strict=True):
            if turn.label in rule.codes:
                table[rule.classes.index(rule.codes[turn.label]), predicted] += 1
    return {session: table.tolist() for session, table in tables.items()}


def _evidence(dialogue: Dialogue, knobs: Knobs) -> np.ndarray:
    """(turns, 6) P(template, z | state), each row up to a factor."""
    said = likelihoods(knobs.kinds)
    text = np.array([said[turn.template] for turn in dialogue.turns])
    return text * np.array([_heard(turn, dialogue, knobs) for turn in dialogue.turns])


def _heard(turn, dialogue: Dialogue, knobs: Knobs) -> np.ndarray:
    """(6,) P(z | state): the emotion's voice, or the neutral one with chance p_flat."""
    speaker = dialogue.speakers[turn.speaker]
    centres = np.vstack([voice_centre(speaker, knobs), speaker.offset])
    far = ((turn.z - centres) ** 2).sum(axis=1) / (2 * knobs.noise**2)
    density = np.exp(far.min() - far)
    return (1 - knobs.p_flat) * density[:-1] + knobs.p_flat * density[-1]


def _transition(mix: np.ndarray, knobs: Knobs) -> np.ndarray:
    """(own last, partner's last, new) chances; index 6 is: has not spoken, and is never new."""
    same = np.eye(NONE + 1)
    drawn = np.append(mix, 0.0)
    partner = np.where(np.arange(NONE + 1) < NONE, knobs.contagion, 0.0)[:, None]
    other = partner * same + (1 - partner) * drawn  # (partner's, new)
    own = np.where(np.arange(NONE + 1) < NONE, knobs.stay, 0.0)[:, None, None]
    return own * same[:, None, :] + (1 - own) * other[None]


def _turned(pair: np.ndarray, speaker: int) -> np.ndarray:
    """(F, M) <-> (who speaks, partner)."""
    return pair.T if speaker else pair


def _weighed(pair: np.ndarray, seen: np.ndarray, speaker: int) -> np.ndarray:
    return _turned(_turned(pair, speaker) * np.append(seen, 0.0)[:, None], speaker)


def _normal(rows: np.ndarray) -> np.ndarray:
    return rows / rows.sum(axis=1, keepdims=True)
