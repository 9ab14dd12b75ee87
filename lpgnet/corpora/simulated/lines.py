"""What the simulated speakers say: line templates with slots, and how likely each is under an emotion.

Kinds: an explicit line tells its emotion; an ambiguous one fits any; a pair line fits two; a misleading
one is an explicit line of another emotion.  Slots, openers and [LAUGHTER] tell nothing of the emotion.
"""

import numpy as np

STATES = ("hap", "sad", "neu", "ang", "exc", "fru")
KINDS = ("explicit", "ambiguous", "pair", "misleading")

EXPLICIT = {
    "hap": (
        "I'm so glad we came, I could stay at {place} all day.",
        "You always make me laugh, you know that?",
        "This is the nicest {day} I've had in a long time.",
        "I feel really good about {thing}, everything turned out fine.",
        "It makes me smile every time I think about {person}.",
        "I love how it all came together, it's just lovely.",
        "Life is pretty sweet right now, I can't complain.",
        "I had such a good time with {person} at {place}.",
        "That's so kind of you, you made my day.",
        "We're going to be so happy in that little house.",
        "It was wonderful to see {person} again, we laughed all night.",
        "I'm pleased with {thing}, it's exactly what I hoped for.",
    ),
    "sad": (
        "I miss {person} so much, it hurts to even talk about it.",
        "I cried the whole way home from {place}.",
        "Nothing feels right since {person} passed away.",
        "I just feel so alone in that empty house.",
        "She's gone, and I never got to say goodbye.",
        "I don't think I'll ever get over losing {person}.",
        "It breaks my heart that it had to end like this.",
        "I can't stop thinking about the funeral.",
        "I've been lying in bed all {day}, I can't get up anymore.",
        "I lost the baby, and I don't know how to go on.",
        "I'm sorry, I get tears in my eyes when I remember {place}.",
        "There's no hope left for us, is there?",
    ),
    "neu": (
        "The form is on the second floor, next to the elevator.",
        "I think the meeting with {person} is at three o'clock.",
        "You take the number nine bus and get off at {place}.",
        "I work at {place}, mostly on {day}s.",
        "We have two rooms, one of them faces the parking lot.",
        "I put {thing} on the desk, beside the printer.",
        "It takes about forty minutes, depending on the traffic.",
        "My shift starts at eight and ends at four.",
        "You'll need a photo and a copy of the receipt.",
        "The store closes at nine, and at six on {day}.",
        "I usually have coffee and toast, sometimes an egg.",
        "The address is the same as before, just a different apartment.",
    ),
    "ang": (
        "Get out of my house right now, I mean it!",
        "How dare you talk to {person} like that!",
        "You lied to me, right to my face, and I hate you for it!",
        "Shut up! I don't want to hear another word!",
        "Don't you ever touch {thing} again, do you hear me?",
        "You make me sick, you selfish coward!",
        "I'm going to scream if you blame {person} again!",
        "You had no right to go behind my back, none!",
        "Keep your filthy hands off {thing}!",
        "I am furious, you ruined it on purpose!",
        "Go to hell, and take {person} with you!",
        "I swear, if you come near {place} again I'll call the police!",
    ),
    "exc": (
        "Oh my God, I got in, I actually got in!",
        "We won! We won the whole thing, can you imagine?",
        "I'm getting married on {day}, I just can't wait!",
        "Guess what, they picked {person} out of a thousand people!",
        "We're flying to Hawaii, pack your bags, we're going!",
        "No way, front row tickets? This is amazing!",
        "I'm pregnant! You're the first one I told!",
        "She said yes! She actually said yes at {place}!",
        "You have to see it, it's incredible, come on, come on!",
        "I got the part, I'm going to be in a real movie!",
        "It's a full scholarship, can you believe how awesome that is!",
        "Wow, look at all those people, this is going to be huge!",
    ),
    "fru": (
        "I've been standing in this line for three hours for nothing.",
        "I already filled out that form twice, what else do you people want?",
        "Nobody here can give me a straight answer about {thing}.",
        "I've tried everything, and {thing} still doesn't work.",
        "Every time I call they put me on hold again.",
        "They keep sending me from one window to the next.",
        "I've explained this to {person} over and over, and it goes nowhere.",
        "I've sent out a hundred applications and not one reply.",
        "It's always the same old problem with {thing}, it never gets fixed.",
        "You're not listening, I told you all of this on {day}.",
        "They lost my luggage and now they tell me to wait again.",
        "What's the point of asking, they never change a thing at {place}.",
    ),
}

AMBIGUOUS = (
    "I don't know what to say.",
    "Did you talk to {person} about it?",
    "So that's what happened on {day}.",
    "What do you mean by that?",
    "You knew about {thing}, didn't you?",
    "Well, that's just how {person} is.",
    "I heard about it from {person}.",
    "Are you going to tell {person}?",
    "I was at {place} when they called me.",
    "I know. I know.",
    "Yeah, you said that before.",
    "I told you about {thing}.",
    "It's been five years since then.",
    "You really think so?",
    "And then {person} just walked in.",
    "I need to talk to you about {thing}.",
    "Look at me for a second.",
    "Is that what you wanted to tell me?",
    "They told me on {day}.",
    "I never thought it would go this way.",
    "What are you going to do now?",
    "Okay. Okay, let me think.",
    "Do you remember what {person} said at {place}?",
    "You can ask {person}, it's true.",
    "That's the letter that came on {day}.",
    "Come here, sit down.",
    "I saw {person} at {place}.",
    "It isn't like last time.",
)

PAIRS = (
    (("hap", "exc"), "This is the best news I've heard since {day}."),
    (("hap", "exc"), "I love it, I really love it, thank you!"),
    (("ang", "fru"), "I've had enough of this, I'm done with {person}."),
    (("ang", "fru"), "This is ridiculous, I want to speak to your manager."),
    (("sad", "neu"), "{person} moved out of the house on {day}."),
    (("sad", "neu"), "I packed up the old things and took them to {place}."),
    (("sad", "fru"), "I don't think it's ever going to work out for me."),
    (("sad", "fru"), "I'm tired, I'm just so tired of all this."),
    (("hap", "neu"), "We had dinner with {person} and took a walk after."),
    (("hap", "neu"), "It's warm out, we could go over to {place}."),
    (("hap", "sad"), "I look at the old pictures and think how lovely it was."),
    (("hap", "sad"), "I know, I'm crying, I can't help it when I see {person}."),
    (("exc", "ang"), "I can't believe you did that with {thing}!"),
    (("exc", "ang"), "Are you serious? Are you kidding me right now?"),
    (("exc", "fru"), "How much longer is this going to take, I can't wait anymore."),
    (("neu", "ang"), "You have to leave now, we're closing."),
    (("neu", "fru"), "They said to come back on {day} with another form."),
    (("ang", "exc"), "Oh my God, you already told {person}!"),
)

SLOTS = {
    "person": (
        "my sister",
        "my brother",
        "my boss",
        "my roommate",
        "my dad",
        "my cousin",
        "the neighbors",
        "your mother",
    ),
    "thing": ("the car", "the house", "the computer", "the job", "the contract", "the phone"),
    "place": ("the beach", "the office", "school", "the airport", "the park", "the hospital"),
    "day": ("Monday", "Tuesday", "Friday", "Saturday", "Sunday"),
}
OPENERS = ("Well, ", "So, ", "Listen, ", "You know, ", "I mean, ", "Look, ")
P_OPENER, P_LAUGHTER = 0.2, 0.02

TEMPLATES = {f"explicit-{s}-{i}": line for s, said in EXPLICIT.items() for i, line in enumerate(said)}
TEMPLATES |= {f"ambiguous-{i}": line for i, line in enumerate(AMBIGUOUS)}
TEMPLATES |= {f"pair-{'-'.join(two)}-{i}": line for i, (two, line) in enumerate(PAIRS)}


def choices(kind: str, state: str) -> list[str]:
    """The template ids that a speaker in `state` may say, all equally likely."""
    if kind == "ambiguous":
        return [t for t in TEMPLATES if t.startswith("ambiguous")]
    if kind == "pair":
        return [t for t in TEMPLATES if t.startswith("pair") and state in t]
    own = f"explicit-{state}-"
    return [t for t in TEMPLATES if t.startswith("explicit") and t.startswith(own) == (kind == "explicit")]


def likelihoods(chances: dict[str, float]) -> dict[str, np.ndarray]:
    """Template id -> (6,) P(template | state), summed over the kinds, whose chances are given."""
    table = {template: np.zeros(len(STATES)) for template in TEMPLATES}
    for at, state in enumerate(STATES):
        for kind, chance in chances.items():
            said = choices(kind, state)
            for template in said:
                table[template][at] += chance / len(said)
    return table


def fill(template: str, rng: np.random.Generator) -> str:
    """The line as said: slots filled, now and then an opener or [LAUGHTER], whatever the emotion."""
    words = {slot: options[rng.integers(len(options))] for slot, options in SLOTS.items()}
    line = TEMPLATES[template].format(**words)
    if rng.random() < P_OPENER:
        proper = line.startswith(("I ", "I'", *SLOTS["day"]))
        line = OPENERS[rng.integers(len(OPENERS))] + (line if proper else line[0].lower() + line[1:])
    line = line[0].upper() + line[1:]
    return f"[LAUGHTER] {line}" if rng.random() < P_LAUGHTER else line
