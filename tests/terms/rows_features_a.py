"""Terms on maps and features: attention, selectivity, flow, boundaries, factors, likelihood, neurons, classes."""

from tests.terms.table import Row
from understudy.terms import (
    AB,
    AT,
    FSP,
    NST,
    OFD,
    VID,
    ClassDistance,
    ClassSpread,
    FactorTransfer,
    GradientAT,
    Neurons,
    Paraphraser,
)

PAIRS = ("maps1 -> maps1", "maps2 -> maps2")

ROWS = [
    Row(AT(PAIRS), equal=0.0),
    Row(AT(PAIRS, p=1, reduce="max", distance="mean_squared"), equal=0.0),
    Row(GradientAT("maps1 -> maps1"), equal=0.0),
    Row(GradientAT("input"), equal=0.0),
    Row(GradientAT("input", form="raw", distance="mean_squared"), equal=0.0),
    Row(GradientAT("maps1 -> maps1", form="raw", distance="mean_squared"), equal=0.0, other_shapes=False),
    Row(NST("maps2 -> maps2"), equal=0.0),
    Row(NST("maps2 -> maps2", kernel="gaussian"), equal=0.0),
    Row(FSP(PAIRS), equal=0.0),
    Row(FSP(PAIRS, reduce="mean"), equal=0.0),
    Row(AB(PAIRS)),
    Row(AB(("maps1.1 -> maps1.1",)), other_shapes=False),
    Row(OFD(PAIRS)),
    Row(OFD(("maps1.0 -> maps1.0", "maps2.2:input -> maps2.2:input"))),
    Row(Paraphraser("maps2")),
    Row(FactorTransfer("maps2 -> maps2")),
    Row(VID(PAIRS)),
    Row(Neurons("fc:input -> fc:input"), equal=0.0),
    Row(Neurons("fc:input -> fc:input", share=0.75, reduce="mean")),
    Row(ClassDistance("fc:input -> fc:input"), equal=0.0),
    Row(ClassDistance("maps2 -> fc:input", reduce="mean")),
    Row(ClassSpread("fc:input")),
]
