"""eGeMAPS with openSMILE, an optional extra: free for research, not for commercial use."""

import importlib.metadata
from collections.abc import Iterable, Iterator

import numpy as np

from lpgnet.corpora.sound import RATE


class EGeMAPS:
    """eGeMAPSv02: its 88 functionals, and its 25 low-level descriptors about every 10 ms."""

    name = "egemaps"
    size, frame_size = 88, 25
    precision = "float32"  # descriptors in Hz and their differences
    note = (
        "openSMILE (audEERING) is free for research, teaching and personal use only; commercial use, also of "
        "features made with it, needs their licence."
    )
    shortest = RATE // 10  # below 60 ms openSMILE gives NaN

    def __init__(self):
        try:
            self.version = f"eGeMAPSv02, opensmile {importlib.metadata.version('opensmile')}"
        except importlib.metadata.PackageNotFoundError:
            raise ValueError(
                "egemaps needs openSMILE, which is not installed: pip install 'lpgnet[opensmile]'"
            ) from None
        self.vector = self.frames = None

    def __call__(self, waves: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields (88,) and (T, 25) float32 per wave; one below 100 ms is padded with silence."""
        if self.vector is None:
            self._load()
        for wave in waves:
            wave = np.pad(wave, (0, max(0, self.shortest - len(wave))))
            vector, frames = (part.process_signal(wave, RATE).to_numpy() for part in (self.vector, self.frames))
            if not (np.isfinite(vector).all() and np.isfinite(frames).all()):
                raise ValueError(f"openSMILE gave NaN for a wave of {len(wave)} samples: is it finite and real sound?")
            yield vector[0].astype(np.float32), frames.astype(np.float32)

    def _load(self) -> None:
        import opensmile

        levels = opensmile.FeatureLevel.Functionals, opensmile.FeatureLevel.LowLevelDescriptors
        self.vector, self.frames = (opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level) for level in levels)
