"""What a run costs: a forecast of its seconds from this machine's own speed."""

import time
from functools import lru_cache

import torch

from lpgnet.beyond.efficiency import parameters
from lpgnet.experiments import experiment
from lpgnet.places import Place

TYPICAL = {"simulated": (800, 230), "iemocap": (4290, 1241), "meld": (9989, 2610)}  # training and test
PER_STEP = 0.008  # seconds of overhead of one optimiser step


@lru_cache
def rate() -> float:
    """Floating-point operations a second of one large matrix product on one thread (or the GPU)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024, device=device)
    for _ in range(2):  # the first is a warm-up
        start = time.perf_counter()
        float((a @ a)[0, 0])
        seconds = time.perf_counter() - start
    torch.set_num_threads(threads)
    return 2 * 1024**3 / seconds


def seconds_per_run(name: str, place: Place) -> float:
    """A forecast, good to a factor of a few: six operations per parameter and row, and the steps."""
    run = experiment(name, place.profile)
    frames = getattr(run.model, "pool", "none") != "none"
    train, test = TYPICAL.get(place.corpus, TYPICAL["iemocap"])
    weights = parameters(run, {"text": 768, "audio": 768}, 4)
    rows = (train + test / 3) * (min(run.data.frames, 200) if frames else 1)
    steps = train / run.train.batch / (1 if frames else 30)
    return run.train.epochs * (6 * weights * rows / rate() + PER_STEP * max(steps, 1))
