"""Order, the split, and batches that are the same from memory and from worker processes."""

import copy
import multiprocessing
import os
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Blur, Crop, Erase, Jitter, Part, RandAugment, from_tensors
from understudy.data.augmentation import Draw
from understudy.data.parts import Repeats, fewer, split
from understudy.data.sources import InMemory, Streamed
from understudy.errors import UserError
from understudy.tasks import Classification

# Python 3.12 and later warn of worker processes forked from a process with threads, which PyTorch always has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CPU = torch.device("cpu")
X = torch.randint(0, 256, (50, 3, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
Y = torch.arange(50) % 3
TASK = Classification(("a", "b", "c"))


def part(ids=None):
    return Part(InMemory(X, Y), torch.arange(50) if ids is None else ids)


def epoch_of(one, epoch=0, *, seed=0, batch=8, augmentation=None, start=0):
    augmentation = augmentation or Augmentation()
    return list(one.epoch(epoch, seed=seed, batch=batch, augmentation=augmentation, task=TASK, device=CPU, start=start))


def ids_of(batches):
    return torch.cat([batch.ids for batch in batches]).tolist()


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.targets, b.targets)


def test_an_epoch_is_a_permutation_and_another_each_time():
    orders = [ids_of(epoch_of(part(), epoch, seed=seed, batch=10)) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9
    assert ids_of(epoch_of(part(), 2, seed=1, batch=10)) == orders[5]


def test_an_incomplete_batch_is_left_out():
    assert [len(batch) for batch in epoch_of(part(), batch=8)] == [8] * 6 == [8] * part().steps(8)
    assert [len(batch) for batch in epoch_of(part(), batch=80)] == [50] == [50] * part().steps(80)


def test_ids_are_the_numbers_in_the_file():
    some = torch.tensor([4, 9, 11, 30])
    batch = next(iter(epoch_of(part(some), batch=4)))
    assert sorted(batch.ids.tolist()) == some.tolist()
    assert torch.equal(batch.inputs, X[batch.ids].float() * (1 / 255))
    assert torch.equal(batch.targets, Y[batch.ids])


MANY = Augmentation(
    crop=Crop(), shift=1, flip=True, policy=RandAugment(), jitter=Jitter(), grey=0.3, blur=Blur(), solarise=0.3,
    mixup=0.4, cutmix=1.0, cutout=2, erase=Erase(share=0.5),
)  # fmt: skip


@pytest.mark.parametrize("augmentation", [Augmentation(shift=2, flip=True, cutout=3), MANY], ids=["exact", "many"])
def test_several_views_of_a_sample_in_one_batch(augmentation):
    """Over as many epochs, every view that is seen without them, once; each is what it is in a batch of its own."""
    one, plain = part(), Draw(7, 0)
    seen = []
    for turn in (0, 1):
        for number in range(3):
            numbers = tuple(range(3 * turn, 3 * turn + 3))
            batches = one.epoch(
                turn, seed=7, batch=12, augmentation=augmentation, task=TASK, device=CPU,
                repeats=Repeats(number, numbers),
            )  # fmt: skip
            batches = list(batches)
            assert [len(batch) for batch in batches] == [12] * one.steps(12)
            for batch in batches:
                assert batch.ids.tolist() == batch.ids[:4].repeat(3).tolist() == batch.numbers.tolist()
                assert batch.views.tolist() == [view for view in numbers for _ in range(4)]
                seen += zip(batch.views.tolist(), batch.ids.tolist(), strict=True)
            (alone,) = one.viewed([batch.ids[4:8]], replace(plain, number=numbers[1]), augmentation, TASK, CPU)
            far = (alone.inputs - batch.inputs[4:8]).abs() > 1e-4
            assert far.float().mean() < 0.02  # a level may fall to its other side
            torch.testing.assert_close(alone.targets, batch.targets[4:8])
    assert len(seen) == len(set(seen)) == 2 * 3 * 48


@pytest.mark.parametrize("workers", [0, 2])
def test_each_sample_of_several_views_is_read_once(workers):
    class Counted(TensorDataset):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    read = []
    streamed = Part(Streamed(Counted(X, Y), Y, workers=workers), torch.arange(50))
    several = {"augmentation": Augmentation(shift=2), "repeats": Repeats(1, (4, 5))}
    batches = [list(one.epoch(2, seed=0, batch=10, task=TASK, device=CPU, **several)) for one in (streamed, part())]
    same(*batches)
    assert workers or sorted(read) == sorted(set(ids_of(batches[1])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": 3}, "without augmentation all views of a sample are one"),
        ({"repeats": 3, "batch": 32, "augmentation": Augmentation(flip=True)}, "does not divide batch = 32"),
    ],
)
def test_repeats_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**settings)


def test_more_views_than_samples_are_refused():
    few = part(torch.arange(3))
    with pytest.raises(UserError, match="repeats = 4: there are 3 training samples"):
        few.epoch(0, seed=0, batch=8, augmentation=MANY, task=TASK, device=CPU, repeats=Repeats(0, (0, 1, 2, 3)))


@pytest.mark.parametrize("views", [Augmentation(), Augmentation(shift=2, flip=True, cutout=3, mixup=0.4)])
@pytest.mark.parametrize("start", [1, 4, 6])
def test_going_on_is_the_same_as_never_stopping(views, start):
    same(epoch_of(part(), 3, augmentation=views, start=start), epoch_of(part(), 3, augmentation=views)[start:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("views", [Augmentation(), Augmentation(shift=2, flip=True, cutout=3, mixup=0.4)])
def test_streamed_batches_are_those_from_memory(workers, views):
    streamed = Part(Streamed(TensorDataset(X, Y), Y, workers=workers), torch.arange(50))
    state = torch.get_rng_state()
    same(epoch_of(streamed, 1, batch=20, augmentation=views), epoch_of(part(), 1, batch=20, augmentation=views))
    assert torch.equal(state, torch.get_rng_state())


class Told:
    """Of each sample its number, and which process read it."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index == 11:
            raise UserError("sample 11 cannot be read")
        return torch.tensor([index, os.getpid()])


def told(source, count=10):
    """The processes that read the first samples, two at a time."""
    read = torch.cat(list(source.batches(torch.arange(count).split(2), CPU)))
    assert read[:, 0].tolist() == list(range(count))
    return set(read[:, 1].tolist())


def running():
    return {child.pid for child in multiprocessing.active_children()}


def test_workers_stay_for_the_next_reading_and_leave_with_their_source():
    source = Streamed(Told(), torch.zeros(12), workers=2)
    workers = told(source)
    assert os.getpid() not in workers
    assert told(source, 6) == workers
    assert told(copy.deepcopy(source)).isdisjoint(workers)
    assert told(pickle.loads(pickle.dumps(source))).isdisjoint(workers)
    assert workers <= running()
    del source
    assert not workers & running()


def test_two_readings_at_once_and_those_that_end_early_do_not_disturb_the_next():
    source = Streamed(Told(), torch.zeros(12), workers=2)
    workers = told(source)
    one = source.batches(torch.arange(10).split(2), CPU)
    assert next(one)[:, 0].tolist() == [0, 1]
    assert told(source).isdisjoint(workers)  # the others are reading
    assert [batch[0, 0].item() for batch in one] == [2, 4, 6, 8]
    assert told(source) == workers
    next(source.batches(torch.arange(10).split(2), CPU))
    assert told(source).isdisjoint(workers)
    before = running()
    with pytest.raises(UserError, match="sample 11 cannot be read"):
        told(source, 12)
    assert running() < before
    told(source)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_has_workers_of_its_own_and_leaves_those_of_its_parent():
    source = Streamed(Told(), torch.zeros(12), workers=1)
    workers = told(source)
    child = os.fork()
    if not child:
        fine = False
        try:
            fine = told(source).isdisjoint(workers)
            del source
        finally:
            os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert told(source) == workers


def test_mixing_answers_with_distributions():
    for batch in epoch_of(part(), augmentation=Augmentation(mixup=0.5)):
        assert torch.allclose(batch.targets.sum(1), torch.ones(len(batch)))
        assert batch.inputs.dtype == torch.float32
        assert float(batch.inputs.max()) <= 1


def test_mixing_partners_stay_in_the_part():
    inside = torch.arange(0, 50, 3)  # class 0 alone
    for batch in epoch_of(part(inside), augmentation=Augmentation(mixup=1.0)):
        assert (batch.targets[:, 0] > 0.999).all()


def test_in_order():
    assert ids_of(part().in_order(7, CPU)) == list(range(50))


labels_lists = st.lists(st.integers(0, 4), min_size=2, max_size=80)


@settings(max_examples=60, deadline=None)
@given(labels_lists, st.integers(0, 2**32), st.data())
def test_the_split_is_stratified_seeded_and_disjoint(numbers, seed, data):
    labels = torch.tensor(numbers)
    count = data.draw(st.integers(1, len(labels) - 1))
    source = InMemory(torch.zeros(len(labels), 1), labels)
    train, chosen = split(source, count, seed=seed, strata=source.targets)
    assert len(chosen) == count
    assert sorted(train.ids.tolist() + chosen.ids.tolist()) == list(range(len(labels)))
    exact = torch.bincount(labels, minlength=5).double() * count / len(labels)
    assert ((torch.bincount(chosen.targets, minlength=5) - exact).abs() < 1).all()
    assert torch.equal(split(source, count, seed=seed, strata=source.targets)[1].ids, chosen.ids)


def test_another_seed_splits_otherwise():
    splits = {tuple(split(InMemory(X, Y), 10, seed=seed, strata=Y)[1].ids.tolist()) for seed in range(5)}
    assert len(splits) == 5


@pytest.mark.parametrize(("validation", "count"), [(0, 0), (0.0, 0), (0.1, 5), (5, 5), (5.0, 5), (0.001, 1), (49, 49)])
def test_sizes_of_the_split(validation, count):
    chosen = split(InMemory(X, Y), validation, seed=0, strata=Y)[1]
    assert (len(chosen) if chosen else 0) == count


@pytest.mark.parametrize("validation", [50, -1, -0.1, 1.5, 1000, 0.999])
def test_splits_that_cannot_be(validation):
    with pytest.raises(UserError, match="validation = "):
        split(InMemory(X, Y), validation, seed=0, strata=Y)


def test_fewer_training_samples_keep_the_classes_in_proportion():
    data = fewer(from_tensors((X, Y), validation=10), 12)
    assert len(data.train) == 12
    assert len(data.validation) == 10
    assert set(data.train.targets.tolist()) == set(Y.tolist())
    assert data.example(4, CPU).shape == (4, 3, 6, 6)
    with pytest.raises(UserError, match="training samples are asked for"):
        fewer(data, 13)
