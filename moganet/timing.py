"""The one loop by which speeds are compared: in turns, so that what slows the machine down meets all."""

import gc
import time
from collections.abc import Callable, Sequence


def in_turns(runs: Sequence[Callable[[], object]], rounds: int, seconds: float = 0.0) -> list[list[float]]:
    """Time callables in turns; give each one's seconds a call, one value a round. A first round is not counted.

    seconds: how long a callable is called again in a round, of which the mean counts.
    """
    times: list[list[float]] = [[] for _ in runs]
    gc.collect()
    for turn in range(rounds + 1):
        for run, taken in zip(runs, times, strict=True):
            start, calls = time.perf_counter(), 0
            while not calls or time.perf_counter() - start < (seconds if turn else 0.0):
                run()
                calls += 1
            if turn:
                taken.append((time.perf_counter() - start) / calls)
    return times
