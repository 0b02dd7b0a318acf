"""Terms on channels, stages, class attention and classifiers, and on the relations between samples."""

from tests.terms.table import Row
from understudy.terms import (
    CATKD,
    CC,
    CWD,
    ICKD,
    MGD,
    OFA,
    PKT,
    SDD,
    SP,
    SRRL,
    CCDifferences,
    DarkRank,
    EncoderFeatures,
    Review,
    RKDAngle,
    RKDDistance,
    SimKD,
    Triplets,
)

MAPS, HEADS, EMBEDDING = "maps2 -> maps2", "fc -> fc", "fc:input -> fc:input"
STAGES = ("maps1 -> maps1", MAPS)

ROWS = [
    Row(CWD(MAPS), equal=0.0),
    Row(MGD(MAPS)),
    Row(MGD("maps1 -> maps1", ratio=0.5, mask="places"), other_shapes=False),
    Row(EncoderFeatures(MAPS)),
    Row(EncoderFeatures("maps1 -> maps1", form="mse", whole=0.5)),
    Row(ICKD(MAPS), equal=0.0),
    Row(ICKD(MAPS, embed=True), other_shapes=False),
    Row(Review((*STAGES, EMBEDDING))),
    Row(CATKD(MAPS, HEADS), equal=0.0, learns=False),
    Row(CATKD(MAPS, HEADS, resolution=4, normalize=False), equal=0.0, learns=False),
    Row(SDD(MAPS, HEADS), equal=0.0, learns=False),
    Row(SDD(MAPS, HEADS, grids=(2,), form="dkd"), equal=0.0, learns=False),
    Row(SRRL(MAPS, HEADS)),
    Row(SRRL(EMBEDDING, HEADS, features=0.0)),
    Row(OFA(STAGES)),
    Row(OFA((*STAGES, EMBEDDING), exponent=1.5, form="paper")),
    Row(SimKD(MAPS)),
    Row(SimKD(EMBEDDING), equal=None),
    Row(RKDDistance(EMBEDDING), equal=0.0),
    Row(RKDAngle(EMBEDDING), equal=0.0),
    Row(SP(MAPS), equal=0.0),
    Row(CC(EMBEDDING), equal=0.0),
    Row(CC(EMBEDDING, kernel="inner"), equal=0.0),
    Row(CCDifferences(EMBEDDING, width=16)),
    Row(PKT(EMBEDDING), equal=0.0),
    Row(DarkRank(EMBEDDING), equal=0.0),
    Row(DarkRank(EMBEDDING, transfer="hard", length=None)),
    Row(Triplets(EMBEDDING, margin=0.0), equal=0.0),
    Row(Triplets(EMBEDDING)),
]
