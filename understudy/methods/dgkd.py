"""Labels, and the soft targets of all larger networks: ``(n+1)(1-w) CE + w sum KD``.

With the teacher alone it is ``kd``. Where assistants are named, each learns from all that are larger, and the
student from all of them; only the student's mini-batches leave some out at random.

Settings:
    weight: of the soft targets, 1 in the authors' code: no labels. The sum over many guides is large: with n
        assistants it moves the student up to n + 1 times as far as ``kd`` does at the same rate.
    form: "code" has the labels once, not n + 1 times.
    survival: the chance of each guide to take part in a mini-batch; 0.75 is the paper's best.
    drop: or exactly so many are left out of each mini-batch, as in the code, which has 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import PositiveShare, Share, Temperature, Whole
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import check_stack, divergence, softened
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Term


def dgkd(
    student_logits: Tensor,
    guides_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 1.0,
    temperature: float = 5.0,
    kept: Tensor | None = None,
    form: Literal["paper", "code"] = "paper",
) -> Tensor:
    """Densely guided distillation: the labels, and every larger network's soft targets; one value per sample.

    ``K (1 - w) CE + w sum_k b_k T^2 KL(softmax(t_k/T) || softmax(s/T))`` over the K = n + 1 guides: the teacher and
    the n assistants that are larger

    Args:
        student_logits: (N, C).
        guides_logits: (K, N, C).
        labels: class numbers (N) or distributions (N, C).
        weight: w, the balance of soft targets and labels (lambda there).
        temperature: T of all.
        kept: b, which guides take part in this batch, (K); None: all. Stochastic DGKD draws it for each mini-batch.
        form: ``"paper"`` counts the labels once for each guide, ``"code"`` once in all, without the factor K.

    Weight in the objective: it is the whole objective; mean over the batch. The authors' code has w of 1 (no labels
    at all) and T of 5.
    Reference: Son, Na, Choi, Hwang, "Densely guided knowledge distillation using multiple teacher assistants",
    ICCV 2021.
    Differences: the code's KLDivLoss averages over the classes too, so its soft targets are C times weaker than these.

    >>> guides = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]]])
    >>> dgkd(torch.tensor([[1.0, 1.0]]), guides, torch.tensor([0]))
    tensor([0.])
    """
    check_stack(student_logits, guides_logits, what="the guides' logits")
    if kept is not None and len(kept) != len(guides_logits):
        raise UserError(f"kept says of {len(kept)} guides which take part, and there are {len(guides_logits)}")
    if form not in ("paper", "code"):
        raise UserError(f"form is 'paper' or 'code', not {form!r}")
    student = softened(student_logits, temperature)
    guides = softened(guides_logits, temperature)
    each = divergence(student.expand_as(guides), guides, form="kl") * temperature**2
    if kept is not None:
        each = each * kept.to(each).unsqueeze(-1)
    counted = len(guides) if form == "paper" else 1
    return counted * (1 - weight) * cross_entropy(student_logits, labels) + weight * each.sum(0)


@dataclass(frozen=True)
class DGKD(Term):
    """The labels, and the soft targets of all teachers, some left out at random; see ``losses.dgkd``.

    Args:
        weight: of the soft targets; the labels have ``1 - weight``, once for each teacher.
        temperature: of all.
        form: ``"code"`` counts the labels once in all.
        survival: each teacher takes part in a mini-batch with this probability (the paper's stochastic DGKD, 0.75
            there). A mini-batch that all of them sit out learns from the labels alone.
        drop: or leave out exactly so many of each mini-batch, as the authors' code does (1); one always stays.

    Draws come from PyTorch's generator, which the trainer seeds for every step.

    >>> print(DGKD(survival=0.75))
    DGKD(survival=0.75)
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    weight: Share = 1.0
    temperature: Temperature = 5.0
    form: Literal["paper", "code"] = "paper"
    survival: PositiveShare = 1.0
    drop: Whole = 0

    def __post_init__(self) -> None:
        if self.drop < 0 or (self.drop and self.survival < 1):
            raise UserError(f"{self}: drop is how many are left out; give it or survival, not both")

    @property
    def reads(self) -> Reads:
        drawing = self.drop > 0 or self.survival < 1
        return Reads(student_logits=True, teacher_logits=True, batch=drawing, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return dgkd(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            reading.labels,
            weight=self.weight,
            temperature=self.temperature,
            kept=self._kept(len(reading.teachers), reading.labels.device),
            form=self.form,
        )

    def _kept(self, guides: int, device: torch.device) -> Tensor | None:
        if self.drop:
            return torch.randperm(guides, device=device) >= min(self.drop, guides - 1)
        return torch.rand(guides, device=device) < self.survival if self.survival < 1 else None


METHOD = one_stage(
    "dgkd",
    DGKD,
    stage="labels and all guides",
    family="several networks",
    year=2021,
    paper="Son et al., Densely guided knowledge distillation using multiple teacher assistants",
    labels=False,
    guides="all",
    of_assistants={"survival": 1.0, "drop": 0},
)
