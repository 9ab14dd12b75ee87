"""Work spread over processes, and one progress line: in a terminal, in JupyterLab and in a batch log."""

import time

import joblib


def clock(seconds: float) -> str:
    """75 -> '1:15', 3750 -> '1:02:30'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Counts finished pieces of work and prints done, total, time spent and time left.

    The line ends in a carriage return, so the next one overwrites it, at most every `every` seconds; who
    forwards it to a log turns that into a line feed (see `lpgnet.notebooks`).
    """

    def __init__(self, what: str, total: int, every: float = 5.0):
        self.what, self.total, self.every = what, total, every
        self.done, self.start, self.printed = 0, time.monotonic(), 0.0

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.printed < self.every and self.done < self.total:
            return
        self.printed, spent = now, now - self.start
        left = spent / self.done * (self.total - self.done)
        line = f"{self.what}: {self.done} of {self.total}, {clock(spent)} spent, {clock(left)} left"
        print(line.ljust(79), end="\n" if self.done == self.total else "\r", flush=True)


def spread(what: str, pieces: list, jobs: int) -> None:
    """Do `joblib.delayed` pieces of work, each in a worker process with one thread, and show progress.

    Also with one job a worker process: the same number of threads, so the same bytes.
    """
    progress = Progress(what, len(pieces))
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        for _ in joblib.Parallel(return_as="generator_unordered", batch_size=1)(pieces):
            progress.step()
