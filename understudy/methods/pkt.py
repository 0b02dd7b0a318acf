"""Probabilistic knowledge transfer (PKT; Passalis & Tefas, ECCV 2018)."""

from understudy._terms.pkt import PKT
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def pkt(course: Course, *, embedding: str, weight: float = 30000.0, itself: bool = True) -> list[Stage]:
    """Each sample's neighbours in the batch as a distribution: ``CE + 30000 PKT``.

    30000 is the weight of CRD's benchmark, for a mean over all pairs. The paper has no labels beside it.
    """
    return [Stage("labels and neighbours", CE() + weight * PKT(embedding, itself=itself), course)]


METHOD = Method(
    "pkt",
    pkt,
    family="relations",
    year=2018,
    paper="Passalis, Tefas, Learning deep representations with probabilistic knowledge transfer",
)
