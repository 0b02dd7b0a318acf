"""The blocks of docs/own-loop.md run as they are written; those on several processes run in tests/ranks."""

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.docs.pages import ROOT, blocks
from understudy import Objective
from understudy.terms import CE, KD, Hint

PAGE = ROOT / "docs" / "own-loop.md"


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "example"}
    for line, code in blocks(PAGE, "python", "python no-run"):
        if "init_process_group" not in code and "fully_shard" not in code:
            AcceleratorState._reset_state(reset_partial_state=True)  # the Trainer's, who made it in this process, too
            exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), namespace)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hint", [False, True])
def test_a_compiled_objective_has_the_gradients_of_an_eager_one(networks, batch, hint) -> None:
    teacher, student = networks
    terms = CE() + 0.9 * KD(temperature=4) + (Hint("0 -> 0") if hint else CE())
    objective = Objective(terms, student=student, teacher=teacher, example=batch[0][:2])
    trained = [*student.parameters(), *objective.owned.parameters()]
    expected = torch.autograd.grad(objective(*batch).loss, trained)
    for _ in range(2):
        outcome = torch.compile(objective)(*batch)
        assert outcome.loss.requires_grad
        for ours, theirs in zip(torch.autograd.grad(outcome.loss, trained), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
