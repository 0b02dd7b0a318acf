"""Batches of texts of similar length: each epoch still has its samples, and a batch is as long as its longest text."""

from itertools import chain

import pytest
import torch

import understudy
from understudy import Settings, TrainConfig
from understudy.answers import StoredAnswers
from understudy.config.stage import Stage
from understudy.data import from_tensors
from understudy.data.lengths import lengths_of
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.tasks import Text
from understudy.terms import CE, KD, MiniLM, as_sum
from understudy.training import preflight
from understudy.training.loop import Training

LENGTH, COUNT = 12, 100
CPU = torch.device("cpu")
LONG = torch.randint(2, LENGTH + 1, (COUNT,), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(LENGTH) < LONG[:, None]).long()
INPUTS = {
    "input_ids": torch.randint(4, 20, MASK.shape, generator=torch.Generator().manual_seed(1)) * MASK,
    "attention_mask": MASK,
}
TASK = Text(("bad", "good"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(16))), LENGTH)
DATA = from_tensors((INPUTS, torch.arange(COUNT) % 2), task=TASK, validation=20)


def encoder(depth, dropout=0.1):
    torch.manual_seed(depth)
    return understudy.models.build(
        "text-encoder", classes=2, channels=20, size=LENGTH, width=8, depth=depth, heads=2, dropout=dropout
    )


def batches(group, epoch=0, start=0):
    part = DATA.train.epoch(
        epoch,
        seed=3,
        batch=6,
        augmentation=understudy.Augmentation(),
        task=TASK,
        device=CPU,
        start=start,
        group_by_length=group,
    )
    return [batch.ids.tolist() for batch in part]


def test_an_epoch_has_the_same_samples_in_batches_of_similar_length():
    plain, grouped = batches(None), batches(5)
    assert sorted(chain(*grouped)) == sorted(chain(*plain))
    assert grouped == batches(5) != batches(5, epoch=1)
    assert grouped[4:] == batches(5, start=4)
    padding = [sum(int(LONG[ids].max()) * len(ids) for ids in listed) for listed in (plain, grouped)]
    assert padding[1] < 0.9 * padding[0]
    longest = [int(LONG[ids].max()) for ids in batches(1000)]
    assert longest != sorted(longest)  # the batches are not in the order of their length


def training(config, terms, stored=None):
    stage = Stage("only", terms, config)
    return Training(
        encoder(1, 0.0),
        [encoder(2, 0.0).eval()],
        [stage],
        DATA,
        seed=0,
        settings=Settings(device="cpu"),
        stored=stored,
    )


def test_the_steps_are_those_of_the_whole_texts(monkeypatch):
    """Without dropout, a shorter batch has the loss and the gradients of the same one with its padding."""
    config = TrainConfig(epochs=1, batch=8, group_by_length=3, optimizer=understudy.optimizers.SGD(lr=0.05))
    seen, ends = [], []
    for whole in (False, True):
        if whole:
            monkeypatch.setattr("understudy.training.stage_state.shortened", lambda batch, lengths: batch)
        made = training(config, CE() + KD() + MiniLM("layers.1.self_attn -> layers.0.self_attn"))
        made.student.register_forward_pre_hook(
            lambda module, args, named: seen.append(named["input_ids"].shape[1]), with_kwargs=True
        )
        made.run()
        ends.append(made.student.state_dict())
    assert min(seen) < LENGTH
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-3, atol=1e-5)


class Unmasked(torch.nn.Module):
    """The mean over all tokens, those of padding included, or a weight for each place of a text of whole length."""

    def __init__(self, whole):
        super().__init__()
        self.whole, self.tokens, self.head = whole, torch.nn.Embedding(20, 4), torch.nn.Linear(4 * LENGTH, 2)

    def forward(self, input_ids, attention_mask):
        x = self.tokens(input_ids)
        return self.head(x.flatten(1) if self.whole else x.mean(1).repeat(1, LENGTH))


@pytest.mark.parametrize(("whole", "words"), [(False, "answers otherwise"), (True, "fails on a shorter one")])
def test_a_network_that_reads_padding_is_refused(whole, words):
    stage = Stage("only", CE() + KD(), TrainConfig(batch=8, group_by_length=3))
    for student, teacher, called in (
        (Unmasked(whole), encoder(1), "student"),
        (encoder(1), Unmasked(whole), "teacher 1"),
    ):
        found = list(preflight.check_stage(stage, student, [teacher], DATA, Settings(device="cpu")))
        assert [finding.level for finding in found] == ["error"]
        assert f"the {called} {words}" in found[0].text
    good = preflight.check_stage(stage, encoder(1), [encoder(2)], DATA, Settings(device="cpu"))
    assert all(finding.level != "error" for finding in good)


def test_what_has_no_lengths_is_refused(tmp_path):
    images = InMemory(torch.rand(4, 3, 8, 8), torch.arange(4) % 2)
    with pytest.raises(UserError, match="group_by_length is for texts in memory"):
        lengths_of(images)
    turned = InMemory({name: value.flip(1) for name, value in INPUTS.items()}, torch.arange(COUNT) % 2)
    with pytest.raises(UserError, match="begins with padding"):
        lengths_of(turned)
    stage = Stage("only", CE(), TrainConfig(group_by_length=3))
    pictures = from_tensors((torch.rand(40, 3, 8, 8), torch.arange(40) % 2))
    student = understudy.models.build("resnet8", classes=2)
    (finding,) = preflight.check_stage(stage, student, [], pictures, Settings(device="cpu"))
    assert finding.level == "error"
    assert "group_by_length is for texts in memory" in finding.text
    config = TrainConfig(epochs=3, batch=8, group_by_length=3)
    stored = StoredAnswers(folder=str(tmp_path), views=1)
    term = MiniLM("layers.1.self_attn -> layers.0.self_attn")
    with pytest.raises(UserError, match="stored values of tokens have one"):
        training(config, CE() + term, stored).run()
    training(config, CE() + KD(), stored).run()


def test_the_check_times_texts_of_average_length():
    student, columns = encoder(1), []
    student.register_forward_pre_hook(
        lambda _m, _a, given: columns.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    for group, expected in ((3, round(LONG[DATA.train.ids].double().mean().item())), (None, LENGTH)):
        stage = Stage("only", as_sum(CE()), TrainConfig(epochs=1, batch=6, group_by_length=group))
        list(preflight.check_stage(stage, student, [], DATA, Settings(device="cpu")))
        assert columns[-1] == expected
