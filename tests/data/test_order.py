"""The order of training images, over any number of processes and parts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moganet.data.order import Division, EpochOrder, EvenBatches, StepParts

sizes = st.tuples(st.integers(8, 90), st.integers(2, 9), st.integers(1, 3), st.integers(1, 3), st.booleans())


def steps(order: EpochOrder, batch: int, division: Division, **options) -> list[list[list[tuple[int, int]]]]:
    """Give one process's parts of each step."""
    parts = list(StepParts(order, batch * division.parts, division, **options))
    return [parts[i : i + division.accumulate] for i in range(0, len(parts), division.accumulate)]


@given(sizes, st.integers(0, 5))
def test_every_image_is_seen_once_an_epoch_whoever_shares_it(drawn, epoch):
    number, batch, accumulate, processes, drop_last = drawn
    order = EpochOrder(number, 7)
    order.set_epoch(epoch)
    shares = []
    for rank in range(processes):
        parts = StepParts(
            order, batch * accumulate * processes, Division(accumulate, processes, rank), drop_last=drop_last
        )
        order.set_epoch(epoch)
        shares.append(list(parts))
        assert len(shares[-1]) == len(parts) == len(shares[0])
    seen = sorted(draw.image for share in shares for part in share for draw in part)
    step = batch * accumulate * processes
    assert len(seen) == len(set(seen)) == (number // step * step if drop_last else number)


@given(sizes)
def test_two_processes_see_the_parts_that_one_would_accumulate(drawn):
    number, batch, accumulate, processes, drop_last = drawn
    order = EpochOrder(number, 1)
    alone = steps(order, batch, Division(accumulate * processes), drop_last=drop_last)
    shared = [
        steps(order, batch, Division(accumulate, processes, rank), drop_last=drop_last) for rank in range(processes)
    ]
    for index, parts in enumerate(alone):
        assert parts == [shared[rank][index][part] for part in range(accumulate) for rank in range(processes)]


@given(sizes, st.integers(0, 3), st.integers(0, 4))
def test_an_epoch_that_goes_on_sees_the_rest_of_it_and_the_next_whole(drawn, epoch, done):
    number, batch, accumulate, _, drop_last = drawn
    division = Division(accumulate)
    whole = EpochOrder(number, 3)
    parts = StepParts(whole, batch * accumulate, division, drop_last=drop_last)
    whole.set_epoch(epoch)
    expected = list(parts)
    resumed = StepParts(EpochOrder(number, 3), batch * accumulate, division, drop_last=drop_last, start=(epoch, done))
    assert list(resumed) == expected[done * accumulate :] and len(resumed) == len(expected)
    for order in (whole, resumed.sampler):
        order.set_epoch(epoch + 1)
    assert list(resumed) == list(parts)


def test_epochs_and_seeds_differ_and_repeat():
    def first(seed, epoch):
        order = EpochOrder(50, seed)
        order.set_epoch(epoch)
        return order.draws()[0].tolist()

    orders = [first(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4 and first(1, 1) == orders[3]
    assert sorted(orders[0]) == list(range(50))


def test_weights_draw_classes_equally_often():
    labels = torch.tensor([0] * 900 + [1] * 100)
    order = EpochOrder(1000, 0, 1 / torch.bincount(labels).double()[labels])
    assert labels[order.draws()[0]].float().mean() == pytest.approx(0.5, abs=0.06)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4))
def test_evaluation_counts_each_image_once_in_as_many_batches_for_each(number, batch, processes):
    shares = [list(EvenBatches(number, batch, Division(1, processes, rank))) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(index for share in shares for part in share for index in part) == list(range(number))
