"""Sound as every encoder wants it, from wavs and clips, and what is wrong with what can't be had so."""

from itertools import chain
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE = 16_000  # Hz
SHORTEST = 400  # samples: one window of the speech encoders
SILENT = 1e-4  # peak, of 1
RATES = 1_000, 768_000  # Hz of a file: what speech is recorded at
MOST = 2**28  # samples of a file, all channels: four hours and a half at 16 kHz
LOUDEST = 2.0**32  # beyond every integer format, taken for floating point
NEEDED = "needs PyAV to be read, which is not installed: pip install 'lpgnet[meld]'"


def read_wav(path: Path) -> np.ndarray:
    """(samples,) float32, mono, 16 kHz, finite; zero-padded to 400 samples.

    Channels are averaged.  A file that can't give this is a ValueError that names it.
    """
    samples, rate = _samples(path)
    if rate != RATE and len(samples) and not _unsound(samples):
        common = gcd(RATE, rate)
        samples = resample_poly(samples, RATE // common, rate // common).astype(np.float32)
    return _padded(samples, path)


def _unsound(samples: np.ndarray) -> bool:
    """Whether there are samples that no encoder could square and sum."""
    return not (np.isfinite(samples).all() and np.abs(samples).max() < LOUDEST)


def _padded(samples: np.ndarray, path: Path) -> np.ndarray:
    if not len(samples):
        raise ValueError(f"{path} is empty or without sound: want at least one sample")
    if _unsound(samples):
        raise ValueError(f"{path} holds NaN or infinite samples, or beyond {LOUDEST:.0e}: want -1 to 1")
    return np.pad(samples, (0, max(0, SHORTEST - len(samples))))


def fault(path: Path) -> str | None:
    """What makes a wav unfit for an encoder, in words; None when nothing does."""
    try:
        samples, rate = _samples(path)
    except ValueError as error:
        return f"can't be read ({error})"
    if not len(samples):
        return "is empty"
    if _unsound(samples):
        return "holds NaN or infinite samples, or huge ones"
    if np.abs(samples).max() < SILENT:
        return "is silent"
    if len(samples) * RATE < SHORTEST * rate:
        return f"is {len(samples) / rate * 1000:.1f} ms long, want at least {SHORTEST} samples at 16 kHz"
    return None


def note(path: Path) -> str | None:
    """What `read_wav` will change about a readable wav (rate, channels); None when nothing."""
    try:
        header = soundfile.info(path)
    except (soundfile.SoundFileError, OSError):
        return None
    changes = [f"has {header.samplerate} Hz, will be resampled"] if header.samplerate != RATE else []
    if header.channels > 1:
        changes.append(f"has {header.channels} channels, will be averaged")
    return "; ".join(changes) or None


def _samples(path: Path) -> tuple[np.ndarray, int]:
    """Mono float32 at the file's own rate, which is looked at before anything is read."""
    try:
        rate, size = (about := soundfile.info(path)).samplerate, about.frames * about.channels
        if not RATES[0] <= rate <= RATES[1] or size > MOST:
            wanted = f"{RATES[0]} to {RATES[1]} Hz and at most {MOST} samples"
            raise ValueError(f"{path} has {rate} Hz and {size} samples: want {wanted}")
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path} is no readable wav: {error}") from None
    with np.errstate(over="ignore"):  # of huge samples, which are refused
        return samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0], rate


def read_clip(path: Path) -> np.ndarray:
    """(samples,) float32, mono, 16 kHz, finite; zero-padded to 400 samples: as `read_wav`, from a video too.

    The first audio stream is decoded whole and its channels are averaged.  A file that can't give this is a
    ValueError that names it.
    """
    path = Path(path)
    if path.suffix.lower() == ".wav":
        return read_wav(path)
    av = _av()
    if av is None:
        raise ValueError(f"{path} {NEEDED}")
    try:
        with av.open(str(path)) as container:
            parts = list(_decoded(av, container, path))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path} is no readable clip: {error}") from None
    return _padded(np.concatenate(parts) if parts else np.empty(0, np.float32), path)


def clip_fault(path: Path) -> str | None:
    """What makes a clip unreadable, from its header, in words; None where nothing does or PyAV is absent."""
    if path.suffix.lower() == ".wav":
        try:
            return None if soundfile.info(path).frames else "is empty"
        except (soundfile.SoundFileError, OSError) as error:
            return f"can't be read ({error})"
    av = _av()
    if av is None:
        return None
    try:
        with av.open(str(path)) as container:
            return None if container.streams.audio else "has no audio stream"
    except (av.FFmpegError, OSError) as error:
        return f"can't be read ({error})"


def _decoded(av, container, path: Path):
    """Parts of the first audio stream at 16 kHz, (samples,) float32 each."""
    if not container.streams.audio:
        raise ValueError(f"{path} has no audio stream")
    resampler = av.AudioResampler(format="fltp", rate=RATE)  # the channels as they are
    left = MOST
    for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: the rest it holds
        for part in resampler.resample(frame):
            left -= part.samples
            if left < 0:
                raise ValueError(f"{path} has more than {MOST} samples at 16 kHz")
            yield part.to_ndarray().mean(axis=0, dtype=np.float32)


def _av():
    """PyAV, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av
