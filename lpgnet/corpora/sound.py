"""Wavs as every encoder wants them, and what is wrong with those that can't be had so."""

from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

RATE = 16_000  # Hz
SHORTEST = 400  # samples: one window of the speech encoders
SILENT = 1e-4  # peak, of 1


def read_wav(path: Path) -> np.ndarray:
    """(samples,) float32, mono, 16 kHz, finite; zero-padded to 400 samples.

    Channels are averaged.  A file that can't give this is a ValueError that names it.
    """
    samples, rate = _samples(path)
    if not len(samples):
        raise ValueError(f"{path} is empty: want at least one sample")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinite samples: want finite ones")
    if rate != RATE:
        common = gcd(RATE, rate)
        samples = resample_poly(samples, RATE // common, rate // common).astype(np.float32)
    return np.pad(samples, (0, max(0, SHORTEST - len(samples))))


def fault(path: Path) -> str | None:
    """What makes a wav unfit for an encoder, in words; None when nothing does."""
    try:
        samples, rate = _samples(path)
    except ValueError as error:
        return f"can't be read ({error})"
    if not len(samples):
        return "is empty"
    if not np.isfinite(samples).all():
        return "holds NaN or infinite samples"
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
    """Mono float32 at the file's own rate."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise ValueError(f"{path} is no readable wav: {error}") from None
    return samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0], rate
