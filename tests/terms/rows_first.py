"""The terms of FitNets and before."""

from tests.terms.table import Row
from understudy.terms import CE, KD, Hint, Labels, TapLabels

ROWS = [
    Row(CE()),
    Row(Labels()),
    Row(CE(label_smoothing=0.1)),
    Row(KD(temperature=3), equal=0.0),
    Row(Hint("maps2 -> maps2"), equal=0.0),
    Row(TapLabels("maps1", classes=4)),
    Row(TapLabels("fc:input", classes=4)),
    Row(Hint("maps1 -> maps1", reduce="mean", regressor="crd")),
]
