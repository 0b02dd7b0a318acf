"""Terms with a adversary, a memory, networks that learn along, or adversarial samples."""

from tests.terms.table import Row
from understudy.terms import BSS, CAN, CRD, DML, CRDBatch, LogitsL1, Rocket

ROWS = [
    Row(CAN()),
    Row(CAN(layers=1, saturating=False)),
    Row(CAN("wgan")),
    Row(CAN("lsgan")),
    Row(CAN("joint")),
    Row(CAN("gan", saturating=False)),
    Row(CAN("gan", condition="label")),
    Row(CAN("wgan", condition="teacher")),
    Row(CAN(condition="image", prediction=True)),
    Row(LogitsL1(), equal=0.0),
    Row(LogitsL1("mean"), equal=0.0),
    Row(CRD("fc:input -> fc:input", width=8, negatives=16)),
    Row(CRD("maps2 -> maps1", width=8, negatives=100, other_classes=False)),
    Row(CRDBatch("fc:input -> fc:input", width=8)),
    Row(CRDBatch("maps2 -> maps2", width=8, other_classes=False)),
    Row(DML()),
    Row(DML(peers=2, architecture="teacher", temperature=2.0, reduce="sum")),
    Row(Rocket()),
    Row(Rocket(block=False)),
    Row(Rocket(shared="maps1 -> maps1"), other_shapes=False),
    Row(BSS(base="teacher")),
    Row(BSS(base="teacher", form="kl", steps=2), equal=0.0),
]
