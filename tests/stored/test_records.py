"""Records: what is put into a file comes out bit for bit, or is known to be damaged."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.answers.encoding import form_of, read_form
from understudy.answers.file import Shelf
from understudy.config.hardware import relative_difference
from understudy.errors import UserError


@pytest.mark.parametrize("shape", [(5,), (3, 4, 5), (1, 2, 2), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_records_give_back_what_they_were_given_bit_for_bit_and_in_its_memory_format(shape, dtype):
    values = torch.randn(7, *shape, dtype=torch.float64).to(dtype)
    if len(shape) == 3:
        values = values.contiguous(memory_format=torch.channels_last)
    form = form_of(values, "exact")
    assert read_form(json.loads(json.dumps(form.describe()))) == form
    back = form.decode(form.encode(values))
    assert torch.equal(back, values)
    assert back.dtype == dtype
    if len(shape) == 3:
        assert back.is_contiguous(memory_format=torch.channels_last)


def test_a_value_too_large_for_float16_is_refused():
    with pytest.raises(UserError, match="bfloat16"):
        form_of(torch.full((2, 3), 1e5), "float16").encode(torch.full((2, 3), 1e5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_the_largest_logits_probabilities_stay_exact_and_the_others_share_the_rest(dtype):
    logits = (4 * torch.randn(6, 9, generator=torch.Generator().manual_seed(0))).to(dtype)
    form = form_of(logits, "top-3")
    assert read_form(json.loads(json.dumps(form.describe()))) == form
    back = form.decode(form.encode(logits))
    largest = logits.topk(3).indices
    assert torch.equal(back.gather(1, largest), logits.gather(1, largest))
    before, after = logits.float().softmax(1), back.float().softmax(1)
    rounding = 1e-5 if dtype == torch.float32 else 0.01
    torch.testing.assert_close(after.gather(1, largest), before.gather(1, largest), rtol=rounding, atol=rounding)
    others = back.scatter(1, largest, torch.nan)
    assert all(len(row[~row.isnan()].unique()) == 1 for row in others)
    with pytest.raises(UserError, match="leaves nothing out"):
        form_of(logits, "top-9")


def reader_of_the_docs():
    """What docs/stored-answers.md shows, which needs NumPy alone."""
    page = (Path(__file__).parents[2] / "docs/stored-answers.md").read_text()
    (code,) = re.findall(r"```python\n(def unpacked.*?)```", page, re.DOTALL)
    given = {"np": np, "Array": np.ndarray}
    exec(code, given)
    return given["unpacked"]


@pytest.mark.parametrize(("classes", "count", "words"), [(1000, 10, 3), (100, 10, 3), (21_841, 32, 12), (3, 2, 1)])
def test_packed_logits_are_few_bytes_and_near_those_of_the_largest(classes, count, words):
    logits = 4 * torch.randn(64, classes, generator=torch.Generator().manual_seed(0))
    logits[0], logits[1, 1:] = 0.01 * logits[0], -torch.inf  # undecided, and sure
    form, plain = form_of(logits, f"top-{count}-packed"), form_of(logits, f"top-{count}")
    assert read_form(json.loads(json.dumps(form.describe()))) == form
    encoded = form.encode(logits)
    assert encoded.shape == (64, form.words) == (64, words)
    back, wanted = (kind.decode(kind.encode(logits)).softmax(1) for kind in (form, plain))
    torch.testing.assert_close(back, wanted, rtol=0, atol=0.02)
    assert (wanted * (wanted.clamp_min(1e-30).log() - back.log())).sum(1).max() < 0.002
    for record, row in zip(encoded[3:6], form.decode(encoded)[3:6], strict=True):
        found, own, other = reader_of_the_docs()(record.numpy().tobytes(), classes, count)
        np.testing.assert_allclose(own, row[torch.from_numpy(found)], rtol=1e-6)
        assert other == pytest.approx(row.min().item(), rel=1e-6)
    with pytest.raises(UserError, match="NaN"):
        form.encode(logits * torch.nan)


def test_packed_answers_of_a_sure_teacher_are_told_from_those_of_another():
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(0)) + 30 * torch.eye(50)[:8].repeat(8, 1)
    logits[0, 1:] = -torch.inf
    form = form_of(logits, "top-5-packed")
    back = form.comparable(form.decode(form.encode(logits)))
    assert relative_difference(back, form.comparable(logits)) < form.coarse / 4
    for other in (1.2 * logits, logits.flip(0)):
        assert relative_difference(back, form.comparable(other)) > form.coarse


def test_two_flipped_signs_do_not_cancel_out(tmp_path):
    path, ids = tmp_path / "logits-0.answers", torch.arange(3)
    Shelf(path, 3, 4).write(ids, torch.arange(12).view(3, 4) - 5)
    file = np.memmap(path, dtype=np.int64, mode="r+", shape=(3, 5))  # each record, and its checksum
    file[0, :2] ^= np.int64(-(2**63))
    file[1, 2:4] ^= np.int64(2**31)
    file.flush()
    _, there, damaged = Shelf(path, 3, 4).read(ids)
    assert there.tolist() == [False, False, True]
    assert damaged.tolist() == [True, True, False]


def test_a_file_that_is_cut_short_while_it_is_read_has_no_records_there(tmp_path):
    path, ids = tmp_path / "ce-0000000.answers", torch.arange(3)
    words = torch.arange(12).view(3, 4)
    shelf = Shelf(path, 3, 4)
    shelf.write(ids, words)
    assert shelf.read(ids)[1].all()
    os.truncate(path, 5 * 8 + 3)  # within the second record; a file mapped into memory ends the process here
    read, there, damaged = shelf.read(ids)
    assert there.tolist() == [True, False, False]
    assert not damaged.any()
    assert read[0].equal(words[0])
    shelf.write(ids, words)
    assert shelf.read(ids)[1].all()
