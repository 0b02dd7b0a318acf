"""Terms on logits alone."""

from tests.terms.table import Row
from understudy.terms import (
    CWTM,
    DGKD,
    DIST,
    DKD,
    DKPP,
    MLKD,
    NKD,
    Confidence,
    CurriculumKD,
    LogitRegression,
    NoisyTeacher,
    SeveralTeachers,
    StandardisedKD,
    VirtualTeacher,
    Vote,
)

ROWS = [
    Row(LogitRegression(), equal=0.0),
    Row(LogitRegression(reduce="mean"), equal=0.0),
    Row(NoisyTeacher()),
    Row(NoisyTeacher(share=0.0), equal=0.0),
    Row(Confidence(samples=4)),
    Row(Confidence(samples=3, covariance="diagonal", ridge=0.1, reduce="mean")),
    Row(DKD(), equal=0.0),
    Row(NKD()),
    Row(DIST(beta=2.0, gamma=2.0, temperature=4.0), equal=0.0),
    Row(StandardisedKD(), equal=0.0),
    Row(MLKD(), equal=0.0),
    Row(CurriculumKD(rise=1.0), equal=0.0),  # at its full strength: before, it learns too little to be seen
    Row(CurriculumKD(rise=1.0, by="sample"), equal=0.0),
    Row(SeveralTeachers(), equal=0.0),
    Row(SeveralTeachers(average="logits"), equal=0.0),
    Row(SeveralTeachers(weights=(2.0,)), equal=0.0),
    Row(Vote()),
    Row(DGKD(), equal=0.0),
    Row(DGKD(weight=0.5, form="code", survival=0.75)),
    Row(DGKD(weight=0.5, drop=1)),
    Row(VirtualTeacher()),
    Row(VirtualTeacher(temperature=None)),
    Row(CWTM()),
    Row(DKPP()),
]
