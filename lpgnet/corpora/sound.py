"""Sound as every encoder wants it, of an audio file or a video, and what such a file is like."""

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from math import gcd
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

RATE = 16_000  # Hz
SHORTEST = 400  # samples: one window of the speech encoders
SILENT = 1e-4  # peak, of 1
FAR = 0.25  # seconds, and of a turn's time: a clip whose length differs by more is another's, or cut
CANCELLED = 0.1  # of a channel's loudness: what is left of two in antiphase
RATES = 1_000, 768_000  # Hz of a file: what speech is recorded at
MOST = 2**28  # samples of a file, all channels: four hours and a half at 16 kHz
LOUDEST = 2.0**32  # beyond every integer format, taken for floating point
ENDLESS = 0x7FFF_F000  # bytes: a header from here on was written before the sound, and doesn't know
SNDFILE = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au")  # read by libsndfile
PYAV = (
    ".mp4", ".m4a", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".mpg", ".mpeg", ".3gp", ".wmv",
    ".aac", ".opus", ".wma", ".ac3",
)  # fmt: skip
NEEDED = "needs PyAV to be read, which is not installed: pip install 'lpgnet[meld]'"


@dataclass(frozen=True)
class Heard:
    """What a clip is like, in words; "" where nothing is to be said.

    fault: why no encoder can have it.  odd: it can be had, but hardly is what was said.  note: what reading
    it changes.
    """

    fault: str = ""
    odd: str = ""
    note: str = ""


def read_clip(path: Path) -> np.ndarray:
    """(samples,) float32, mono, 16 kHz, finite; zero-padded to 400 samples.

    Of a video the first audio stream.  Channels are averaged.  A file that can't give this is a ValueError
    that names it.
    """
    channels, rate = _channels(Path(path))
    samples = _mono(channels)
    if not len(samples):
        raise ValueError(f"{path} is empty or without sound: want at least one sample")
    if _unsound(samples):
        raise ValueError(f"{path} holds NaN or infinite samples, or beyond {LOUDEST:.0e}: want -1 to 1")
    if rate != RATE:
        common = gcd(RATE, rate)
        samples = resample_poly(samples, RATE // common, rate // common).astype(np.float32)
    return np.pad(samples, (0, max(0, SHORTEST - len(samples))))


def hear_all(paths: list[Path], seconds: list[float]) -> list[Heard]:
    """`hear` of each, in order."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(hear, paths, seconds))


def hear(path: Path, seconds: float = np.nan) -> Heard:
    """Read a clip whole and say what it is like.  seconds: how long its turn is, NaN where not known.

    A video that nothing here can read (no PyAV) is not judged.
    """
    if not _by_sndfile(path) and _av() is None:
        return Heard()
    try:
        channels, rate = _channels(path)
    except ValueError as error:
        return Heard(fault=f"can't be read: it {str(error).removeprefix(f'{path} ')}")
    samples = _mono(channels)
    if not len(samples):
        return Heard(fault="is empty")
    if _unsound(samples):
        return Heard(fault="holds NaN or infinite samples, or huge ones")
    odd = [_silence(samples, channels), _length(path, len(samples) / rate, seconds)]
    changes = [f"has {rate} Hz, will be resampled"] if rate != RATE else []
    if channels.shape[1] > 1:
        changes.append(f"has {channels.shape[1]} channels, will be averaged")
    return Heard(odd="; ".join(filter(None, odd)), note="; ".join(changes))


def _silence(samples: np.ndarray, channels: np.ndarray) -> str:
    if np.abs(channels).max() < SILENT:
        return "is silent"
    left, whole = (np.sqrt(np.square(x, dtype=float).mean(axis=0).max()) for x in (samples, channels))
    if left < CANCELLED * whole:
        return "has channels in antiphase, which cancel out when they are averaged"
    return ""


def _length(path: Path, held: float, said: float) -> str:
    """held: seconds of sound in the file.  said: of its turn, NaN where not known."""
    whole = held_part(path)
    if whole < 1:
        return f"is cut: {held:.2f} s of the {held / whole:.2f} s that its header says"
    if held * RATE < SHORTEST:
        return f"is {held * 1000:.1f} ms long, want at least {SHORTEST} samples at 16 kHz"
    if abs(held - said) > FAR * max(1, said):
        return f"is {held:.2f} s long, its turn {said:.2f} s"
    return ""


def held_part(path: Path) -> float:
    """The part of its sound that a wav holds, by its header; 1 where it is whole, is no wav or doesn't know."""
    _, promised, there = _data(path) or (0, 0, 0)
    return there / promised if 0 < there < promised < ENDLESS else 1.0


def _unsound(samples: np.ndarray) -> bool:
    """Whether there are samples that no encoder could square and sum."""
    return not (np.isfinite(samples).all() and np.abs(samples).max() < LOUDEST)


def _mono(channels: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # of huge samples, which are refused
        return channels.mean(axis=1) if channels.shape[1] > 1 else channels[:, 0]


def _by_sndfile(path: Path) -> bool:
    return path.suffix.lower() in SNDFILE


def _channels(path: Path) -> tuple[np.ndarray, int]:
    """(samples, channels) float32 and their rate, which is looked at before anything is read."""
    if not _by_sndfile(path):
        return _decoded(path), RATE
    import soundfile  # here: training needs no sound

    try:
        about = soundfile.info(_opened(path))
        rate, size = about.samplerate, about.frames * about.channels
        if not RATES[0] <= rate <= RATES[1] or size > MOST:
            wanted = f"{RATES[0]} to {RATES[1]} Hz and at most {MOST} samples"
            raise ValueError(f"{path} has {rate} Hz and {size} samples: want {wanted}")
        return soundfile.read(_opened(path), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path} is no readable {path.suffix[1:].lower()}: {error}") from None


def _data(path: Path) -> tuple[int, int, int] | None:
    """Where the sound of a wav starts, how many bytes its header says, and how many follow; None: no wav."""
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return None
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return file.tell(), size, path.stat().st_size - file.tell()
            file.seek(size + size % 2, 1)
    return None


def _opened(path: Path) -> Path | BytesIO:
    """The file; a wav that was streamed, whose header says 0 bytes of sound, with a header that says all."""
    start, promised, there = _data(path) or (0, 1, 0)
    if promised or not there:
        return path
    data = bytearray(path.read_bytes())
    name, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
    if name.isalpha() and start + 8 + size <= len(data):
        return path  # empty indeed: another chunk follows
    data[start - 4 : start] = b"\xff" * 4
    return BytesIO(data)


def _decoded(path: Path) -> np.ndarray:
    """(samples, channels) at 16 kHz of the first audio stream, by PyAV."""
    av = _av()
    if av is None:
        raise ValueError(f"{path} {NEEDED}")
    try:
        with av.open(str(path)) as container:
            parts = list(_parts(av, container, path))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path} is no readable clip: {error}") from None
    return np.concatenate(parts, axis=1).T if parts else np.empty((0, 1), np.float32)


def _parts(av, container, path: Path):
    """(channels, samples) float32 each."""
    if not container.streams.audio:
        raise ValueError(f"{path} has no audio stream")
    resampler = av.AudioResampler(format="fltp", rate=RATE)  # the channels as they are
    left = MOST
    for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: the rest it holds
        for part in _resampled(resampler, frame, path):
            left -= part.samples
            if left < 0:
                raise ValueError(f"{path} has more than {MOST} samples at 16 kHz")
            yield part.to_ndarray()


def _resampled(resampler, frame, path: Path) -> list:
    try:
        return resampler.resample(frame)
    except ValueError as error:  # rate or channels change midway
        raise ValueError(f"{path} is no readable clip: {error}") from None


def _av():
    """PyAV, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av
