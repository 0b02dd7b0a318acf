"""Terms: a loss with the taps that it reads and the modules that it owns. One file each."""

from understudy.terms._base import Expression as Expression
from understudy.terms._base import Facts as Facts
from understudy.terms._base import Reading as Reading
from understudy.terms._base import Reads as Reads
from understudy.terms._base import Shapes as Shapes
from understudy.terms._base import Sum as Sum
from understudy.terms._base import Term as Term
from understudy.terms._base import as_sum as as_sum
from understudy.terms.ab import AB as AB
from understudy.terms.at import AT as AT
from understudy.terms.at_gradient import GradientAT as GradientAT
from understudy.terms.bss import BSS as BSS
from understudy.terms.can import CAN as CAN
from understudy.terms.cat_kd import CATKD as CATKD
from understudy.terms.cc import CC as CC
from understudy.terms.cc import CCDifferences as CCDifferences
from understudy.terms.ce import CE as CE
from understudy.terms.class_distance import ClassDistance as ClassDistance
from understudy.terms.class_distance import ClassSpread as ClassSpread
from understudy.terms.confidence import Confidence as Confidence
from understudy.terms.crd import CRD as CRD
from understudy.terms.crd_batch import CRDBatch as CRDBatch
from understudy.terms.curriculum_kd import CurriculumKD as CurriculumKD
from understudy.terms.cwd import CWD as CWD
from understudy.terms.cwtm import CWTM as CWTM
from understudy.terms.darkrank import DarkRank as DarkRank
from understudy.terms.dgkd import DGKD as DGKD
from understudy.terms.dist import DIST as DIST
from understudy.terms.dkd import DKD as DKD
from understudy.terms.dkpp import DKPP as DKPP
from understudy.terms.dml import DML as DML
from understudy.terms.factor_transfer import FactorTransfer as FactorTransfer
from understudy.terms.factor_transfer import Paraphraser as Paraphraser
from understudy.terms.fsp import FSP as FSP
from understudy.terms.hint import Hint as Hint
from understudy.terms.ickd import ICKD as ICKD
from understudy.terms.kd import KD as KD
from understudy.terms.logit_regression import LogitRegression as LogitRegression
from understudy.terms.logits_l1 import LogitsL1 as LogitsL1
from understudy.terms.mgd import MGD as MGD
from understudy.terms.mlkd import MLKD as MLKD
from understudy.terms.neurons import Neurons as Neurons
from understudy.terms.nkd import NKD as NKD
from understudy.terms.noisy_teacher import NoisyTeacher as NoisyTeacher
from understudy.terms.nst import NST as NST
from understudy.terms.ofa import OFA as OFA
from understudy.terms.ofd import OFD as OFD
from understudy.terms.pkt import PKT as PKT
from understudy.terms.review import Review as Review
from understudy.terms.rkd import RKDAngle as RKDAngle
from understudy.terms.rkd import RKDDistance as RKDDistance
from understudy.terms.rocket import Rocket as Rocket
from understudy.terms.several_teachers import SeveralTeachers as SeveralTeachers
from understudy.terms.several_teachers import Vote as Vote
from understudy.terms.simkd import SimKD as SimKD
from understudy.terms.sp import SP as SP
from understudy.terms.srrl import SRRL as SRRL
from understudy.terms.standardised_kd import StandardisedKD as StandardisedKD
from understudy.terms.triplets import Triplets as Triplets
from understudy.terms.vid import VID as VID
from understudy.terms.virtual_teacher import VirtualTeacher as VirtualTeacher

TERMS: dict[str, type[Term]] = {
    term.__name__: term
    for term in (
        AB,
        AT,
        BSS,
        CAN,
        CATKD,
        CC,
        CCDifferences,
        CE,
        CRD,
        CRDBatch,
        CWD,
        CWTM,
        ClassDistance,
        ClassSpread,
        Confidence,
        CurriculumKD,
        DGKD,
        DIST,
        DKD,
        DKPP,
        DML,
        DarkRank,
        FSP,
        FactorTransfer,
        GradientAT,
        Hint,
        ICKD,
        KD,
        LogitRegression,
        LogitsL1,
        MGD,
        MLKD,
        NKD,
        NST,
        Neurons,
        NoisyTeacher,
        OFA,
        OFD,
        PKT,
        Paraphraser,
        RKDAngle,
        RKDDistance,
        Review,
        Rocket,
        SP,
        SRRL,
        SeveralTeachers,
        SimKD,
        StandardisedKD,
        Triplets,
        VID,
        VirtualTeacher,
        Vote,
    )
}
