"""``Objective.as_module()`` on two real processes: the gradients, weights and owned modules of one process."""

import pytest
import torch

from tests.docs.pages import ROOT
from tests.ranks import cases, norms
from tests.ranks.group import Group

LOOSE = {"can": 1e-4, "rkd": 1e-4}  # differences of nearly equal values, which rounding changes most
ALIKE = [
    "kd", "hint", "cut", "hint with batch norm", "can", "crd", "crd-batch", "sp", "rkd", "auto",
    "without labels",
]  # fmt: skip
NOT_SHARDED = {"auto"}


@pytest.mark.parametrize("how", ["DDP(step)", "FSDP2(step)"])
@pytest.mark.parametrize("terms", ALIKE)
def test_two_processes_train_as_one(both: Group, terms: str, how: str):
    if how == "FSDP2(step)" and terms in NOT_SHARDED:
        assert all("auto() measures" in text for text in both("refusal", terms, how))
        return
    alone = cases.trained(0, terms, "alone")
    first, second = both("trained", terms, how)
    for name, value in alone.items():
        off = (first[name] - value).float().norm() / value.float().norm().clamp_min(1e-6)
        assert off < (LOOSE.get(terms, 1e-5) if name.startswith("gradient") else 1e-3), (name, off)
    assert all(torch.equal(first[name], second[name]) for name in first)  # owned modules and memories, too


def test_ranks_with_unequal_slices_are_refused(both: Group):
    assert all("between 7 and 8 samples" in text for text in both("unequal"))


@pytest.mark.parametrize("which", [0, 1])
def test_the_scripts_of_the_page_run(both: Group, which: int):
    page = (ROOT / "docs" / "own-loop.md").read_text()
    both("page", page, which)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "composed"])
@pytest.mark.parametrize("name", norms.NORMS)
def test_batch_norms_over_ranks_are_those_of_the_whole_batch(both: Group, name: str, fused: bool):
    check_norms(both, name, 4, fused)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "composed"])
def test_parts_of_unequal_size_count_by_their_samples(both: Group, fused: bool):
    check_norms(both, "maps", 5, fused)


def check_norms(both: Group, name: str, first: int, fused: bool) -> None:
    wanted = norms.normed(None, name)
    error = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 2e-2}[norms.NORMS[name][2]]
    for values in both("norms.normed", name, first, fused):
        assert values.keys() == wanted.keys()
        for key, value in wanted.items():
            off = (values[key] - value).double().norm() / value.double().norm().clamp_min(1e-6)
            assert off < error, (key, off)
