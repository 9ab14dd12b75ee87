"""eSpeak NG driven through ctypes: latent voices to 16 kHz wavs.

The engine keeps state from one utterance to the next and never loses it, so each dialogue is spoken by a
process of its own, forked from a worker that has never spoken; the bytes then depend neither on the
order nor on the number of workers.  This file run as a program is such a worker: it imports nothing of
the package and knows nothing of the program that asked, so that threads there can't harm the forks.
eSpeak NG is GPL-3: it is loaded here alone, in the worker and its forks.
"""

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

RATE = 16_000
ENGINE_RATE = 22_050
SYNCHRONOUS, DONT_EXIT = 2, 0x8000  # not RETRIEVAL: its thread hangs a forked process
SPEED, VOLUME, PITCH, RANGE, WORD_GAP = 1, 2, 3, 4, 7
VARIANT = "u"  # a name of 30 letters or more aborts the engine
HISS = 2e-4  # of the room, whatever the emotion


def settings(z: np.ndarray, sex: str, pitch: float, formants: float) -> dict:
    """Engine parameters, voice variant and gain of a latent voice z (`plan.DIMENSIONS`).

    pitch: of the sex's usual base.  formants: vocal-tract scale, 1 is usual.
    """
    base = pitch * (172 if sex == "F" else 94)
    scale = formants * (1.12 if sex == "F" else 1.0)
    height, span, rate, gain, tension, breath = (float(np.clip(value, -3.5, 3.5)) for value in z)
    return {
        "parameters": {
            SPEED: round(172 * float(np.exp(0.13 * rate))),
            VOLUME: 45,
            PITCH: round(float(np.clip(46 + 11 * height, 2, 98))),
            RANGE: round(float(np.clip(50 + 14 * span, 2, 98))),
            WORD_GAP: 0,
        },
        "variant": _variant(base, scale, tension, breath),
        "gain": 3.0 * gain,  # dB
    }


def _variant(base: float, scale: float, tension: float, breath: float) -> str:
    """An eSpeak voice file: tense raises the upper formants, breath adds noise and takes voicing."""
    high = round(float(np.clip(100 + 30 * tension, 25, 200)))
    air = float(np.clip(6 + 6 * breath, 0, 24))
    lines = ["language variant", "name u", f"pitch {base:.0f} {1.5 * base:.0f}"]
    for formant in range(9):
        strength = high if 3 <= formant <= 5 else 100
        lines.append(f"formant {formant} {100 * scale:.0f} {strength} 100")
    lines.append(f"breath 0 {air / 2:.0f} {air:.0f} {air:.0f} {air * 0.75:.0f} {air / 2:.0f}")
    lines.append(f"voicing {np.clip(95 - 10 * breath, 50, 130):.0f}")
    return "\n".join(lines) + "\n"


def require() -> None:
    """Stop with what to install when there is no speech synthesiser."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise ImportError("the simulated corpus needs the package espeakng-loader: pip install lpgnet[sim]")


def speak(dialogues: list[list[dict]], folder: Path, jobs: int) -> str:
    """Write the wavs of all utterances under folder; returns the engine's version.

    dialogues: per utterance its wav (relative to folder), text, seed, silence (s before, after) and
    `settings`.  Runs `jobs` worker processes and stops when one fails.
    """
    require()
    command = [sys.executable, "-P", __file__, str(folder), str(os.getpid())]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    workers = [subprocess.Popen(command, env=environment, text=True, **pipes) for _ in range(min(jobs, len(dialogues)))]
    try:
        for at, worker in enumerate(workers):
            worker.stdin.write(json.dumps(dialogues[at :: len(workers)]))
            worker.stdin.close()
            worker.stdin = None  # so that communicate doesn't flush it
        answers = [worker.communicate() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for worker, (_, error) in zip(workers, answers, strict=True):
        if worker.returncode:
            raise RuntimeError(f"speech worker ended with {worker.returncode}:\n{error.strip()}")
    return answers[0][0].strip()


def _work(folder: Path, parent: int) -> None:
    """A worker: one forked process per dialogue, until done or the asking program is gone."""
    for dialogue in json.load(sys.stdin):
        if os.getppid() != parent:
            sys.exit("the program that asked for speech is gone")
        child = os.fork()
        if not child:
            _in_child(dialogue, folder)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            sys.exit(f"the process that spoke {dialogue[0]['wav']} and on ended with {status}")
    print(_version())


def _in_child(dialogue: list[dict], folder: Path) -> None:
    try:
        with tempfile.TemporaryDirectory() as data:
            engine = _Engine(Path(data))
            for utterance in dialogue:
                _write(engine, utterance, folder / utterance["wav"])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _write(engine: "_Engine", utterance: dict, path: Path) -> None:
    import soundfile

    before, after = (np.zeros(round(RATE * seconds)) for seconds in utterance["silence"])
    voice = engine.say(utterance) * 10 ** (utterance["gain"] / 20)
    wave = np.concatenate([before, voice, after])
    wave += HISS * np.random.default_rng(utterance["seed"]).normal(size=len(wave))
    soundfile.write(path, np.clip(wave, -0.99, 0.99), RATE, subtype="PCM_16")


def _library() -> ctypes.CDLL:
    import espeakng_loader

    return ctypes.CDLL(espeakng_loader.get_library_path())


def _version() -> str:
    info = _library().espeak_Info
    info.argtypes, info.restype = [ctypes.POINTER(ctypes.c_char_p)], ctypes.c_char_p
    return info(ctypes.byref(ctypes.c_char_p())).decode()


class _Engine:
    """An engine that reads its voice variant from a private copy of the data folder."""

    def __init__(self, folder: Path):
        import espeakng_loader

        self._variant = _private_data(Path(espeakng_loader.get_data_path()), folder)
        self._library = _library()
        self._heard: list[np.ndarray] = []
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = callback(self._hear)  # held, or it would be collected
        self._library.espeak_Initialize.argtypes = [ctypes.c_int] * 2 + [ctypes.c_char_p, ctypes.c_int]
        self._library.espeak_Synth.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
            ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
        ]  # fmt: skip
        rate = self._library.espeak_Initialize(SYNCHRONOUS, 500, str(folder).encode(), DONT_EXIT)
        if rate != ENGINE_RATE:
            raise RuntimeError(f"eSpeak NG gave {rate} for its rate, want {ENGINE_RATE}")
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, utterance: dict) -> np.ndarray:
        """(samples,) float64 at 16 kHz."""
        self._variant.write_text(utterance["variant"])
        self._heard.clear()
        if self._library.espeak_SetVoiceByName(f"en-us+{VARIANT}".encode()):
            raise RuntimeError("eSpeak NG has no voice en-us; reinstall espeakng-loader")
        for parameter, value in utterance["parameters"].items():
            self._library.espeak_SetParameter(int(parameter), value, 0)
        self._library.espeak_ng_SetRandSeed(utterance["seed"])
        text = utterance["text"].encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        if not self._heard:
            raise RuntimeError(f"eSpeak NG said nothing for {utterance['text']!r}")
        return resample_poly(np.concatenate(self._heard) / 32768, 320, 441)

    def _hear(self, wave, count: int, _events) -> int:
        if wave and count > 0:
            self._heard.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0


def _private_data(shipped: Path, folder: Path) -> Path:
    """Link the shipped data into folder; returns the path of our own variant file there."""
    for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict", "lang"):
        (folder / name).symlink_to(shipped / name)
    variants = folder / "voices" / "!v"
    variants.mkdir(parents=True)
    return variants / VARIANT


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]))
