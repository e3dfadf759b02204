"""Which image is drawn when: a function of the seed, the epoch and the place in it, whatever else happened before.

An epoch is cut into steps of the optimizer, a step into equal parts, one for each process and accumulated micro-batch:
a run that goes on within an epoch, or on other processes, sees the same images, and draws, in the same steps.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One image of an epoch, and the seed of everything random that is done to it."""

    image: int
    seed: int
    epoch: int


class Division(NamedTuple):
    """How a step's images are shared: among `processes`, of which this is number `rank`, in `accumulate` parts each."""

    accumulate: int = 1
    processes: int = 1
    rank: int = 0

    @property
    def parts(self) -> int:  # of a step, over all processes
        return self.accumulate * self.processes


ALONE = Division()


class EpochOrder:
    """Order one epoch: every image once, or with `weights` (num_images,) drawn by them with replacement.

    kinds: of each image (num_images,) whether it is of one kind or of the other; each `step` of images is of one kind
    then, but for what is left over of both.
    """

    kinds: Tensor | None = None
    step = 1

    def __init__(self, num_images: int, seed: int, weights: Tensor | None = None) -> None:
        self.num_images, self.seed, self.weights, self.epoch = num_images, seed, weights, 0

    def apart(self, kinds: Tensor, step: int) -> Self:
        """Keep two kinds of images apart, as far as steps of a size allow it."""
        self.kinds, self.step = kinds, step
        return self

    def __len__(self) -> int:
        return self.num_images

    def set_epoch(self, epoch: int) -> None:  # which Lightning calls before each
        self.epoch = epoch

    def draws(self) -> tuple[Tensor, Tensor]:
        """Give the epoch's indices and seeds, each (num_images,)."""
        # Of a seed torch's generator takes 32 bits only, so that the two numbers are mixed rather than joined.
        mixed = int(np.random.SeedSequence((self.seed, self.epoch)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(mixed)
        indices = self._indices(generator)
        seeds = torch.randint(2**31, (self.num_images,), generator=generator)
        if self.kinds is None:
            return indices, seeds
        places = self._by_kind(self.kinds[indices], generator)
        return indices[places], seeds[places]

    def _by_kind(self, kinds: Tensor, generator: torch.Generator) -> Tensor:
        """Give the places of drawn images, step by step; those left over of both kinds come last."""
        steps, rest = list[Tensor](), list[Tensor]()
        for kind in (False, True):
            own = (kinds == kind).nonzero()[:, 0]
            whole = len(own) // self.step * self.step
            steps += [own[start : start + self.step] for start in range(0, whole, self.step)]
            rest.append(own[whole:])
        order = torch.randperm(len(steps), generator=generator).tolist()
        return torch.cat([*(steps[i] for i in order), *rest])

    def _indices(self, generator: torch.Generator) -> Tensor:
        if self.weights is None:
            return torch.randperm(self.num_images, generator=generator)
        return torch.multinomial(self.weights, self.num_images, replacement=True, generator=generator)


class ShardOrder(EpochOrder):
    """Order an epoch shard by shard, the shards by chance, and within `buffer` images by chance too.

    shards (N,): the number of each image's shard; starts (N,): where in it the image begins. An image comes less than
    `buffer` places from where reading shard after shard would find it.
    """

    def __init__(self, shards: NDArray[np.int64], starts: NDArray[np.int64], buffer: int, seed: int) -> None:
        super().__init__(len(shards), seed)
        self.shards, self.starts, self.buffer = shards, starts, buffer

    def _indices(self, generator: torch.Generator) -> Tensor:
        turn = torch.randperm(int(self.shards.max(initial=0)) + 1, generator=generator).numpy()
        in_turn = np.lexsort((self.starts, turn[self.shards]))
        moved = np.arange(len(in_turn)) + self.buffer * torch.rand(len(in_turn), generator=generator).numpy()
        return torch.from_numpy(in_turn[np.argsort(moved, kind="stable")])


class StepParts(Sampler[list[Draw]]):
    """Give this process its parts of each step of an epoch, in order.

    step_size: images a step over all processes. drop_last: leave out a last step with fewer images.
    start: an epoch, and how many of its steps are done already.
    """

    def __init__(
        self, order: EpochOrder, step_size: int, division: Division, *, drop_last: bool, start: tuple[int, int] = (0, 0)
    ) -> None:
        self.sampler = order  # the name by which Lightning finds it, to tell it the epoch
        self.step_size, self.division, self.drop_last = step_size, division, drop_last
        self.start_epoch, self.start = start
        order.set_epoch(self.start_epoch)

    @property
    def num_steps(self) -> int:  # the optimizer's, in an epoch
        whole, rest = divmod(len(self.sampler), self.step_size)
        return whole + bool(rest and not self.drop_last)

    def __len__(self) -> int:
        return self.num_steps * self.division.accumulate

    def __iter__(self) -> Iterator[list[Draw]]:
        indices, seeds = self.sampler.draws()
        for step in range(self.start if self.sampler.epoch == self.start_epoch else 0, self.num_steps):
            of_step = slice(step * self.step_size, (step + 1) * self.step_size)
            parts = [values[of_step].tensor_split(self.division.parts) for values in (indices, seeds)]
            for part in range(self.division.rank, self.division.parts, self.division.processes):
                images, drawn = (values[part].tolist() for values in parts)
                yield [Draw(*pair, self.sampler.epoch) for pair in zip(images, drawn, strict=True)]


class EvenBatches(list[list[int]]):
    """Share a set's batches among processes: each image once, as many batches for each (an empty one at the end)."""

    def __init__(self, num_images: int, batch_size: int, division: Division) -> None:
        places = list(range(num_images))
        batches = [places[first : first + batch_size] for first in range(0, num_images, batch_size)]
        batches += [[]] * (-len(batches) % division.processes)
        super().__init__(batches[division.rank :: division.processes])
