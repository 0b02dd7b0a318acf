"""One-for-all distillation (OFA-KD; Hao et al., NeurIPS 2023)."""

from typing import Literal

from understudy._terms.ofa import OFA
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def ofa(
    course: Course,
    *,
    pairs: tuple[str, ...],
    weight: float = 1.0,
    exponent: float = 1.0,
    temperature: float = 1.0,
    form: Literal["code", "paper"] = "code",
) -> list[Stage]:
    """Exits on the student's stages learn the teacher's logits (unlike networks): ``CE + OFA``.

    Args:
        pairs: of these, from input to output, the student's taps carry the exits.
        weight: 1 for each exit and for the logits, in the authors' code.
        exponent: enhances the label's class; 1 in the code, 1.5 in its example of an unlike pair.
        temperature: 1 in the code.
        form: as in the authors' code, or the paper's, which contains the labels' loss: no ``CE`` beside it then.
    """
    term = weight * OFA(pairs, exponent=exponent, temperature=temperature, form=form)
    return [Stage("exits", CE() + term if form == "code" else term, course)]


METHOD = Method(
    "ofa",
    ofa,
    family="features",
    year=2023,
    paper="Hao et al., One-for-all: bridge the gap between heterogeneous architectures in knowledge distillation",
)
