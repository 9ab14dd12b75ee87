"""What is said in a recording, and when: faster-whisper with the weights of the speech encoder, offline.

Another of its models is taken by name or folder.  Long recordings are heard in blocks that end in a pause.
"""

import importlib.metadata
from pathlib import Path

from lpgnet.beyond.conversation.recording import Recording
from lpgnet.beyond.conversation.transcripts import Turn, plain
from lpgnet.features import whisper
from lpgnet.features.loading import first_line, holding
from lpgnet.machine.workers import Progress

BLOCK, BEFORE = 300.0, 30.0  # seconds: of a block, and how much earlier it may end
NEAR = 0.5  # seconds between a word and the turn that it is given to
NEEDED = "pip install 'lpgnet[asr]', or give what was said (--transcript FILE)"


def hear(recording: Recording, model: str | None = None, language: str | None = None) -> tuple[list[Turn], str]:
    """Timed turns with their words, and a sentence that says who heard them."""
    recogniser, name = load(model, language)
    blocks, turns = _blocks(recording), []
    progress, spoken = Progress("heard, five minutes each", len(blocks), every=0.0), language
    for start, end in blocks:
        segments, about = recogniser.transcribe(
            recording.cut(start, end),
            language=language or (None if recogniser.model.is_multilingual else "en"),
            beam_size=1,
            vad_filter=True,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        turns += [_turn(segment, start) for segment in segments if segment.text.strip()]
        spoken = about.language
        progress.step()
    if not turns:
        raise ValueError(f"no speech is heard in {recording.path}: give what was said (--transcript FILE)")
    version = importlib.metadata.version("faster-whisper")
    said = f"Heard by {name} (faster-whisper {version}, language {spoken}); its words may be wrong: correct them in"
    return turns, f"{said} {recording.path.stem}.transcript.csv, and give it back (--transcript)."


def _turn(segment, start: float) -> Turn:
    words = tuple((start + word.start, start + word.end, word.word) for word in segment.words or ())
    times = (round(start + time, 3) for time in (segment.start, segment.end))  # as a transcript writes them
    return Turn(*times, plain(segment.text), words=words)


def _blocks(recording: Recording) -> list[tuple[float, float]]:
    """Start and end of each block."""
    ends = [0.0]
    while recording.seconds - ends[-1] > BLOCK:
        ends.append(recording.quietest(ends[-1] + BLOCK - BEFORE, ends[-1] + BLOCK))
    return list(zip(ends, [*ends[1:], recording.seconds], strict=True))


def load(model: str | None = None, language: str | None = None):
    """The recogniser and its name."""
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise ValueError(f"hearing a recording needs faster-whisper, which is not installed: {NEEDED}") from None
    if model is None and language not in (None, "en"):
        raise ValueError(f"{whisper.NAME} knows English only: name another faster-whisper model (--asr), as base")
    folder = Path(model).expanduser() if model else whisper.folder("asr")
    if folder.is_dir() and not (folder / "model.bin").is_file():
        raise FileNotFoundError(
            f"{folder} is no model of faster-whisper: it lacks model.bin, it holds {holding(folder)}"
        )
    try:
        options = {"device": "cpu", "compute_type": "int8", "cpu_threads": _threads()}
        made = WhisperModel(str(folder) if folder.is_dir() else model, **options)
    except Exception as error:  # ctranslate2's, the hub's, the disk's
        raise ValueError(f"no recogniser {model or folder}: {type(error).__name__}: {first_line(error)}") from None
    if language and language not in made.supported_languages:
        raise ValueError(f"{model} knows no language {language!r}: want a code as en, de, fr")
    return made, whisper.NAME if model is None else (folder.name if folder.is_dir() else model)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def given_words(turns: list[Turn], heard: list[Turn]) -> tuple[list[Turn], list[str]]:
    """Turns without text (who spoke when) with the words that were heard then, and what is to be said of it."""
    found: list[list] = [[] for _ in turns]
    lost = 0
    for word in (word for turn in heard for word in turn.words):
        middle = (word[0] + word[1]) / 2
        away = [max(turn.start - middle, middle - turn.end, 0.0) for turn in turns]
        best = min(range(len(turns)), key=lambda i: (away[i], -turns[i].start))
        if away[best] > NEAR:
            lost += 1
        else:
            found[best].append(word)
    said = (
        [f"Outside: {lost} words were heard where nobody speaks by the transcript, and are left out."] if lost else []
    )
    made = [
        Turn(turn.start, turn.end, plain("".join(word for _, _, word in words)), turn.speaker, tuple(words))
        for turn, words in zip(turns, found, strict=True)
    ]
    return made, said
