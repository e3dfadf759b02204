"""The generators of random numbers while a run has them: who called it finds their own as they left them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pytorch_lightning.utilities.seed import isolate_rng

OF_LIGHTNING = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # what seeding leaves in the environment, for processes of a run


@contextmanager
def own_draws() -> Iterator[None]:
    """Seed and draw within as if alone; a notebook's cells go on as they would have."""
    before = {name: os.environ.get(name) for name in OF_LIGHTNING}
    try:
        with isolate_rng(include_cuda=False):  # asking a GPU's would start it
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
