"""Video or wav clips as every encoder wants them: the sound alone, mono, 16 kHz."""

from itertools import chain
from pathlib import Path

import numpy as np
import soundfile

from lpgnet.corpora.sound import RATE, SHORTEST, read_wav

NEEDED = "needs PyAV to be read, which is not installed: pip install 'lpgnet[meld]'"


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
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if not len(samples):
        raise ValueError(f"{path} has an audio stream without sound: want at least one sample")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples: want finite ones")
    return np.pad(samples, (0, max(0, SHORTEST - len(samples))))


def fault(path: Path) -> str | None:
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
    for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: the rest it holds
        for part in resampler.resample(frame):
            yield part.to_ndarray().mean(axis=0, dtype=np.float32)


def _av():
    """PyAV, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av
