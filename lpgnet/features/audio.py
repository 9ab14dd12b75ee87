"""The offline audio encoder: 16 kHz mono samples -> prosody and log-mel statistics, with librosa."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock

from lpgnet.corpora.sound import RATE

HOP = 320  # 20 ms: 50 frames a second, as emotion2vec has
WINDOW = 1024  # 64 ms: two periods of the lowest F0
MELS = 26
LOWEST, HIGHEST = 65.0, 500.0  # F0 in Hz


class Prosody:
    """F0, harmonicity, energy, spectral centroid and tilt, and 26 log-mel bands, at 50 frames a second."""

    name = "prosody"
    precision = "float32"
    note = ""
    frame_size = 5 + MELS
    size = 2 * frame_size + 9

    def __init__(self):
        import librosa

        self.librosa = librosa
        self.version = f"1, librosa {librosa.__version__}"
        # librosa compiles on first use and keeps the result beside itself; two processes that do so at
        # once leave a cache that crashes every later one.  So one process at a time, on a little silence.
        with FileLock(Path(tempfile.gettempdir()) / f"lpgnet-librosa-{os.getuid()}.lock"):
            self.frames(np.zeros(RATE // 10, np.float32))

    def __call__(self, waves: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (size,) and (T, frame_size) float32 per wave, T = 1 + samples // 320."""
        for wave in waves:
            frames = self.frames(wave)
            yield self.statistics(frames, len(wave)), frames

    def frames(self, wave: np.ndarray) -> np.ndarray:
        """Columns: log2 F0, harmonicity, energy in dB, log2 centroid, tilt in dB, log-mels in dB."""
        power = np.abs(self.librosa.stft(wave, n_fft=WINDOW, hop_length=HOP)) ** 2  # (513, T)
        bands = self.librosa.feature.melspectrogram(S=power, sr=RATE, n_mels=MELS)
        f0 = self.librosa.yin(wave, fmin=LOWEST, fmax=HIGHEST, sr=RATE, frame_length=WINDOW, hop_length=HOP)[
            : power.shape[1]
        ]
        hertz = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
        total = power.sum(axis=0) + 1e-10
        centroid = (hertz * power).sum(axis=0) / total
        tilt = 10 * np.log10((power[64:].sum(axis=0) + 1e-10) / (power[:64].sum(axis=0) + 1e-10))
        columns = (
            np.log2(f0),
            self.harmonicity(wave, f0),
            10 * np.log10(total),
            np.log2(centroid + 1.0),
            tilt,
            *10 * np.log10(bands + 1e-10),
        )
        return np.stack(columns, axis=1).astype(np.float32)

    @staticmethod
    def harmonicity(wave: np.ndarray, f0: np.ndarray) -> np.ndarray:
        """Correlation of each window with itself one period later, in [-1, 1]: high where voiced."""
        lags = np.round(RATE / f0).astype(int)
        padded = np.pad(wave, (WINDOW // 2, 2 * WINDOW))
        starts = np.arange(len(f0))[:, None] * HOP
        here = padded[starts + np.arange(WINDOW)]
        there = padded[starts + lags[:, None] + np.arange(WINDOW)]
        norm = np.sqrt((here**2).sum(axis=1) * (there**2).sum(axis=1)) + 1e-8
        return (here * there).sum(axis=1) / norm

    @staticmethod
    def statistics(frames: np.ndarray, samples: int) -> np.ndarray:
        """Means and deviations of every column where there is sound, and nine of F0 and timing."""
        energy = frames[:, 2]
        sound = frames[energy > energy.max() - 40]
        voiced = sound[sound[:, 1] > 0.5]
        voiced = voiced if len(voiced) > 2 else sound
        f0 = voiced[:, 0]
        time = np.linspace(-1, 1, len(f0))
        slope = (time * (f0 - f0.mean())).sum() / max((time**2).sum(), 1e-8)
        onsets = np.diff((sound[:, 1] > 0.5).astype(int)).clip(min=0).sum()
        seconds = samples / RATE
        extra = (
            *np.quantile(f0, (0.05, 0.5, 0.95)),
            f0.std(),
            slope,
            len(voiced) / len(frames),
            len(sound) / len(frames),
            onsets / seconds,
            np.log2(seconds),
        )
        return np.concatenate([sound.mean(0), sound.std(0), extra]).astype(np.float32)
