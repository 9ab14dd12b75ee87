"""A recording of hours, heard piece by piece: whatever FFmpeg reads -> 16 kHz mono in a file, of which turns are cut.

Times are seconds from the first sample that can be heard.
"""

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lpgnet.corpora.sound import CANCELLED, LOUDEST, MOST, RATE, RATES, SHORTEST, SILENT, held_part
from lpgnet.machine.files import plain_name
from lpgnet.machine.workers import as_clock

NEEDED = "a recording needs PyAV to be read, which is not installed: pip install 'lpgnet[asr]'"
BITS = 32_000  # per second of the sound on a page
HOP = RATE // 10  # samples over which loudness is compared
PIECE = 60 * RATE  # samples encoded at a time
JUMP = 0.2  # seconds by which a clock may be ahead of the sound
CUT = 2.0  # seconds that a header may say too many, since some only guess


@dataclass(frozen=True, eq=False)
class Recording:
    """samples: (N,) float32 at 16 kHz, in a temporary file.  said: what was odd.  heard: its words are recognised."""

    path: Path
    samples: np.ndarray
    said: list[str] = field(default_factory=list)
    heard: bool = False

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def cut(self, start: float, end: float) -> np.ndarray:
        """(samples,) of a time, zero-padded to 400, as `read_clip` gives a clip."""
        found = np.array(self.samples[max(0, round(start * RATE)) : max(0, round(end * RATE))])
        return np.pad(found, (0, max(0, SHORTEST - len(found))))

    def quietest(self, start: float, end: float) -> float:
        """The middle of the quietest third of a second between two times."""
        heard = self.cut(start, end)
        count = max(1, len(heard) // HOP)
        loud = np.square(np.resize(heard, count * HOP).reshape(count, HOP)).mean(axis=1)
        around = np.convolve(np.pad(loud, 1, "edge"), np.ones(3), "valid")
        return round(start + (int(around.argmin()) + 0.5) * HOP / RATE, 3)

    def as_mp3(self) -> bytes:
        """The sound for a page: every browser plays it."""
        import av

        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp3") as out:
            stream = out.add_stream("libmp3lame", rate=RATE, layout="mono")
            stream.bit_rate = BITS
            for start in range(0, len(self.samples), PIECE):
                piece = np.clip(self.samples[start : start + PIECE], -1, 1)
                frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return buffer.getvalue()


def open_recording(path: Path) -> Recording:
    """A recording, decoded; a ValueError that names it where there is no sound that could be read."""
    plain_name(path.stem, "the recording's name, which its predictions get,")
    try:
        import av
    except ImportError:
        raise ValueError(NEEDED) from None
    said: list[str] = []
    loud, peak, count = np.zeros(2), 0.0, 0  # squares: of the mean of channels, of the loudest channel
    with tempfile.TemporaryFile(prefix="lpgnet-recording-") as file:
        for channels in _decoded(av, path, said):
            mono = channels.mean(axis=0, dtype=np.float32)
            peak, count = max(peak, float(np.abs(channels).max(initial=0.0))), count + len(mono)
            if not peak < LOUDEST or not np.isfinite(mono).all() or count > MOST:
                raise ValueError(f"{path} holds NaN, infinite or huge samples, or more than {MOST} at 16 kHz")
            loud += np.square(mono, dtype=float).sum(), np.square(channels, dtype=float).sum(axis=1).max()
            file.write(mono.tobytes())
        if not count:
            raise ValueError(f"{path} is without sound that could be decoded: want at least one sample")
        file.flush()
        samples = np.memmap(file, np.float32, "r", shape=(count,))  # which keeps the file's space
    if peak < SILENT:
        said.append("Silent: the recording has no sound above 0.0001.")
    elif loud[0] < CANCELLED**2 * loud[1]:
        said.append("Antiphase: the recording's channels cancel out when they are averaged, as they are here.")
    return Recording(path, samples, said)


def _decoded(av, path: Path, said: list[str]) -> Iterator[np.ndarray]:
    """(channels, samples) float32 each, at 16 kHz, of the first audio stream; damaged packets are left out."""
    lost, count, promised = 0, 0, 0.0
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise ValueError(f"{path} has no audio stream")
            if not RATES[0] <= (container.streams.audio[0].rate or 0) <= RATES[1]:
                raise ValueError(f"{path} has {container.streams.audio[0].rate} Hz: want {RATES[0]} to {RATES[1]}")
            promised = (container.duration or 0) / av.time_base / held_part(path)
            for part in _frames(av, container, min(promised, MOST / RATE)):
                if part is None:
                    lost += 1
                    continue
                count += part.shape[1]
                yield part
    except (av.FFmpegError, OSError) as error:
        if not count:
            raise ValueError(f"{path} is no readable recording: {error}") from None
        lost += 1
    if lost:
        said.append(f"Damaged: {lost} pieces of the recording can't be decoded, and are silent or left out.")
    if count / RATE < promised - (CUT if held_part(path) == 1 else SHORTEST / RATE):
        had = f"{as_clock(count / RATE)} of the {as_clock(promised)}"
        said.append(f"Cut: the recording has {had} that its header says.")


def _frames(av, container, end: float) -> Iterator[np.ndarray | None]:
    """None for a packet that can't be decoded; silence where the file's own clock, up to an end, jumps ahead."""
    resampler = av.AudioResampler(format="fltp", rate=RATE)
    at = (container.start_time or 0) / av.time_base
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            yield None
            continue
        for frame in frames:
            if frame.time is not None and at + JUMP < frame.time <= end:
                silence = round((frame.time - at) * RATE)
                yield from (np.zeros((1, min(PIECE, silence - k)), np.float32) for k in range(0, silence, PIECE))
                at = frame.time
            at += frame.samples / frame.sample_rate
            frame.pts = None
            try:
                parts = resampler.resample(frame)
            except ValueError:  # rate or channels change midway
                yield from (part.to_ndarray() for part in resampler.resample(None))
                resampler = av.AudioResampler(format="fltp", rate=RATE)
                parts = resampler.resample(frame)
            yield from (part.to_ndarray() for part in parts)
    yield from (part.to_ndarray() for part in resampler.resample(None))
