"""Contrastive representation distillation (Tian, Krishnan, Isola, 2020), and its form without a memory."""

from understudy._terms.crd import CRD
from understudy._terms.crd_batch import CRDBatch
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def crd(
    course: Course,
    *,
    embedding: str,
    weight: float = 0.8,
    width: int = 128,
    negatives: int = 16384,
    temperature: float = 0.07,
    momentum: float = 0.5,
) -> list[Stage]:
    """Contrast with many samples that a memory holds: ``CE + 0.8 CRD``.

    The defaults are those of the authors' code; the memory holds two vectors for every sample that trains.

    Args:
        embedding: what goes into both classifiers, ``"fc:input -> fc:input"``.
        weight: of the contrast.
        width: of the projected vectors.
        negatives: how many samples of other classes each one is told from.
        temperature: of the similarities.
        momentum: of the memory.
    """
    contrast = CRD(embedding, width=width, negatives=negatives, temperature=temperature, momentum=momentum)
    return [Stage("labels and contrast", CE() + weight * contrast, course)]


def crd_batch(
    course: Course, *, embedding: str, weight: float = 0.8, width: int = 128, temperature: float = 0.07
) -> list[Stage]:
    """Contrast with the others of the batch, without a memory: ``CE + 0.8 InfoNCE``.

    Projections, temperature and weight are CRD's; nothing grows with the data set.

    Args:
        embedding: what goes into both classifiers, ``"fc:input -> fc:input"``.
        weight: of the contrast; no paper's.
        width: of the projected vectors.
        temperature: of the similarities.
    """
    contrast = CRDBatch(embedding, width=width, temperature=temperature)
    return [Stage("labels and contrast", CE() + weight * contrast, course)]


_PAPER = "Tian et al., Contrastive representation distillation"
METHOD = Method("crd", crd, family="features", year=2020, paper=_PAPER)
BATCH = Method("crd-batch", crd_batch, family="features", year=2020, paper=f"{_PAPER}, with InfoNCE within the batch")
