"""The simulated corpus before it is spoken: who says what, in which emotion, and how it is labelled.

An emotion is a hidden state of six.  Each dialogue has a scene that leans to one of them, like IEMOCAP's
scenarios, and draws its own mix around it, whoever plays; at each turn the speaker
keeps the emotion of their own last turn, else takes the partner's, else draws from the mix.  The voice of
a turn is a latent vector z (`DIMENSIONS`) around the speaker's own neutral one.
"""

from dataclasses import dataclass, replace

import numpy as np

from lpgnet.corpora.simulated.lines import KINDS, STATES, choices, fill

DIMENSIONS = ("pitch", "range", "rate", "gain", "tension", "breath")
SHIFT = np.array(  # where an emotion moves each dimension, in the order of STATES
    [
        [0.7, 0.8, 0.2, 0.3, -0.2, 0.0],  # hap
        [-0.6, -0.8, -0.8, -0.7, -0.6, 0.9],  # sad
        [-0.1, -0.3, 0.1, -0.1, 0.0, -0.1],  # neu
        [0.2, 0.2, 0.5, 0.9, 1.1, -0.4],  # ang
        [1.0, 0.9, 0.7, 0.6, 0.3, -0.2],  # exc
        [-0.1, 0.2, -0.3, 0.3, 0.6, 0.5],  # fru
    ]
)
MIX = np.array([0.16, 0.17, 0.20, 0.17, 0.14, 0.16])  # of a scene that leans nowhere
RARE = ("sur", "fea", "dis", "oth")
SCENES = (
    *("impro01", "script01_1", "script02_2", "impro05", "impro02", "impro06", "script01_3", "impro07"),
    *("impro03", "script02_1", "impro04", "script03_1", "script03_2", "script01_2", "impro08", "impro09"),
)
NAMES = tuple(  # per session; the letter is the wearer of the markers, not the speaker
    f"{'FM'[(at + half) % 2]}_{scene}" for half in (0, 1) for at, scene in enumerate(SCENES)
)
IRREGULAR = {
    "Ses03M_impro05": "Ses03M_impro05a",
    "Ses03M_impro06": "Ses03M_impro05b",
    "Ses05M_script01_1": "Ses05M_script01_1b",
}


@dataclass(frozen=True)
class Knobs:
    """What decides the corpus.  Set with linear models and the oracle only, never with LPGNet."""

    seed: int = 1
    dialogues: tuple[int, ...] = (28, 30, 32, 30, 31)  # of each session, IEMOCAP's; two speakers a session
    turns: int = 9  # per dialogue, on average
    p_ambiguous: float = 0.32  # kinds of line; the rest is explicit
    p_pair: float = 0.10
    p_misleading: float = 0.03
    p_flat: float = 0.10  # the voice shows nothing of the emotion
    gain: float = 1.40  # how far an emotion moves the voice, times the speaker's expressiveness
    noise: float = 0.90  # standard deviation of a turn's voice around that
    spread: float = 1.0  # standard deviation of the speakers' neutral voices
    expressiveness: float = 0.35  # its standard deviation over speakers, around 1
    stay: float = 0.66  # a speaker keeps the emotion of their own last turn
    contagion: float = 0.40  # else takes the partner's last
    lean: float = 0.35  # weight of the scene's emotion in the mean of the dialogue's mix
    concentration: float = 9.0  # of the Dirichlet around that mean
    replaced: float = 0.09  # labels that are xxx or a rare code, whatever the emotion

    def __post_init__(self):
        most = len(NAMES)
        if not (1 <= len(self.dialogues) <= 5 and all(1 <= n <= most for n in self.dialogues) and self.turns >= 4):
            raise ValueError(
                f"dialogues={self.dialogues}, turns={self.turns}: want 1 to {most} dialogues in each of 1 to 5 "
                "sessions, and at least 4 turns"
            )
        if min(self.kinds.values()) < 0:
            raise ValueError(f"the kinds of line {self.kinds} must be chances that sum to 1")

    @property
    def kinds(self) -> dict[str, float]:
        rest = (self.p_ambiguous, self.p_pair, self.p_misleading)
        return dict(zip(KINDS, (1 - sum(rest), *rest), strict=True))


KNOBS = {  # corpus -> its knobs.  Null: the voice shows nothing, and every turn's emotion is drawn alone
    "simulated": Knobs(),
    "simulated-null": Knobs(p_flat=1.0, stay=0.0, contagion=0.0, lean=0.0, concentration=1e6),
}


@dataclass(frozen=True)
class Speaker:
    """A voice of its own, drawn without regard to emotion."""

    name: str  # Ses01F
    offset: np.ndarray  # (6,) the neutral z
    expressiveness: float
    pitch: float  # of its sex's usual base
    formants: float  # vocal-tract scale, 1 is usual


@dataclass(frozen=True)
class Turn:
    """One turn in the order of speech."""

    id: str
    speaker: int  # 0: F, 1: M
    state: str
    kind: str
    template: str
    text: str
    flat: bool
    z: np.ndarray  # (6,)
    gap: float  # seconds after the turn before has ended; negative where they overlap
    label: str


@dataclass(frozen=True)
class Dialogue:
    name: str
    session: int
    mix: np.ndarray  # (6,)
    speakers: tuple[Speaker, Speaker]  # F, M
    turns: tuple[Turn, ...]


def plan(knobs: Knobs) -> list[Dialogue]:
    """The whole corpus in words and numbers; a dialogue depends on the seed and its own place only."""
    dialogues = []
    for session, count in enumerate(knobs.dialogues, start=1):
        speakers = tuple(_speaker(knobs, session, sex) for sex in (0, 1))
        scenes = _scenes(knobs, session)
        for at, name in enumerate(NAMES[:count]):
            rng = np.random.default_rng([knobs.seed, session, at, 1])
            name = f"Ses{session:02}{name}"
            mix = rng.dirichlet(knobs.concentration * scenes[at])
            dialogues.append(_dialogue(IRREGULAR.get(name, name), session, speakers, mix, knobs, rng))
    return _relabelled(dialogues, knobs)


def _scenes(knobs: Knobs, session: int) -> np.ndarray:
    """(dialogues, 6) mean mixes: of six scenes in a row each emotion leads one."""
    rng = np.random.default_rng([knobs.seed, session, 6])
    leads = np.concatenate([rng.permutation(len(STATES)) for _ in range(0, len(NAMES), len(STATES))])[: len(NAMES)]
    return knobs.lean * np.eye(len(STATES))[leads] + (1 - knobs.lean) * MIX


def _speaker(knobs: Knobs, session: int, sex: int) -> Speaker:
    rng = np.random.default_rng([knobs.seed, session, sex, 2])
    return Speaker(
        name=f"Ses{session:02}{'FM'[sex]}",
        offset=knobs.spread * rng.normal(0, 0.5, len(DIMENSIONS)),
        expressiveness=float(np.clip(1 + knobs.expressiveness * rng.normal(), 0.5, 1.6)),
        pitch=float(rng.uniform(0.88, 1.14)),
        formants=float(rng.uniform(0.95, 1.06)),
    )


def _dialogue(
    name: str,
    session: int,
    speakers: tuple[Speaker, Speaker],
    mix: np.ndarray,
    knobs: Knobs,
    rng: np.random.Generator,
) -> Dialogue:
    last: list[str | None] = [None, None]
    spoken, who, turns = [0, 0], int(rng.integers(2)), []
    for _ in range(int(rng.integers(knobs.turns * 3 // 4, knobs.turns * 5 // 4 + 1))):
        last[who] = _next_state(last[who], last[1 - who], mix, knobs, rng)
        key = f"{name}_{'FM'[who]}{spoken[who]:03}"
        turns.append(_turn(key, who, last[who], speakers[who], knobs, rng))
        spoken[who] += 1
        who = who if rng.random() < 0.2 else 1 - who
    return Dialogue(name, session, mix, speakers, tuple(turns))


def _next_state(own: str | None, partner: str | None, mix: np.ndarray, knobs: Knobs, rng: np.random.Generator) -> str:
    if own and rng.random() < knobs.stay:
        return own
    if partner and rng.random() < knobs.contagion:
        return partner
    return STATES[rng.choice(len(STATES), p=mix)]


def _turn(key: str, who: int, state: str, speaker: Speaker, knobs: Knobs, rng: np.random.Generator) -> Turn:
    kind = KINDS[rng.choice(len(KINDS), p=list(knobs.kinds.values()))]
    said = choices(kind, state)
    template = said[rng.integers(len(said))]
    flat = bool(rng.random() < knobs.p_flat)
    centre = voice_centre(speaker, knobs)[STATES.index(state)] if not flat else speaker.offset
    z = centre + knobs.noise * rng.normal(size=len(DIMENSIONS))
    gap = float(rng.normal(0.1, 0.45))
    return Turn(key, who, state, kind, template, fill(template, rng), flat, z, gap, state)


def voice_centre(speaker: Speaker, knobs: Knobs) -> np.ndarray:
    """(6 states, 6 dimensions): the speaker's mean z in each emotion, where it shows."""
    return speaker.offset + speaker.expressiveness * knobs.gain * SHIFT


def _relabelled(dialogues: list[Dialogue], knobs: Knobs) -> list[Dialogue]:
    """A share of the labels replaced by xxx or a rare code; each code occurs if there is room."""
    rng = np.random.default_rng([knobs.seed, 3])
    keys = [turn.id for dialogue in dialogues for turn in dialogue.turns]
    hit = rng.permutation(len(keys))[: round(knobs.replaced * len(keys))]
    drawn = rng.choice(["xxx", *RARE], p=[0.75, 0.12, 0.07, 0.03, 0.03], size=len(hit))
    codes = {keys[at]: str(code) for at, code in zip(hit, drawn, strict=True)}
    codes |= dict(zip([keys[at] for at in hit], ("xxx", *RARE), strict=False))
    return [replace(d, turns=tuple(replace(t, label=codes.get(t.id, t.label)) for t in d.turns)) for d in dialogues]
