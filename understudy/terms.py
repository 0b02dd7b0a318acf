"""Terms to import: a loss with the taps that it reads and the modules that it owns. Each stands with its method.

>>> from understudy.terms import CE, KD, Hint
>>> print(CE() + 0.9 * KD(temperature=2.0) + Hint("layer2 -> layer2"))
CE() + 0.9 * KD(temperature=2.0) + Hint(pair='layer2 -> layer2')
"""

from understudy.methods.ab import AB as AB
from understudy.methods.at import AT as AT
from understudy.methods.at_gradient import GradientAT as GradientAT
from understudy.methods.bss import BSS as BSS
from understudy.methods.byot import BYOT as BYOT
from understudy.methods.ca_mkd import ConfidentMaps as ConfidentMaps
from understudy.methods.ca_mkd import ConfidentTeachers as ConfidentTeachers
from understudy.methods.can import CAN as CAN
from understudy.methods.can import LogitsL1 as LogitsL1
from understudy.methods.cat_kd import CATKD as CATKD
from understudy.methods.cc import CC as CC
from understudy.methods.cc import CCDifferences as CCDifferences
from understudy.methods.class_distance import ClassDistance as ClassDistance
from understudy.methods.class_distance import ClassSpread as ClassSpread
from understudy.methods.confidence import Confidence as Confidence
from understudy.methods.crd import CRD as CRD
from understudy.methods.crd import CRDBatch as CRDBatch
from understudy.methods.crld import CRLD as CRLD
from understudy.methods.ctkd import CurriculumKD as CurriculumKD
from understudy.methods.cwd import CWD as CWD
from understudy.methods.cwtm import CWTM as CWTM
from understudy.methods.darkrank import DarkRank as DarkRank
from understudy.methods.deepkd import OthersKD as OthersKD
from understudy.methods.deepkd import TargetKD as TargetKD
from understudy.methods.deit import TokenKD as TokenKD
from understudy.methods.deit import TokenLabels as TokenLabels
from understudy.methods.dgkd import DGKD as DGKD
from understudy.methods.dist import DIST as DIST
from understudy.methods.dist_plus import DISTMaps as DISTMaps
from understudy.methods.divergences import SoftDivergence as SoftDivergence
from understudy.methods.dkd import DKD as DKD
from understudy.methods.dkpp import DKPP as DKPP
from understudy.methods.dml import DML as DML
from understudy.methods.encoder import EncoderFeatures as EncoderFeatures
from understudy.methods.factor_transfer import FactorTransfer as FactorTransfer
from understudy.methods.factor_transfer import Paraphraser as Paraphraser
from understudy.methods.fcfd import FCFD as FCFD
from understudy.methods.fgd import FGD as FGD
from understudy.methods.fitnets import Hint as Hint
from understudy.methods.fitnets import TapLabels as TapLabels
from understudy.methods.fsp import FSP as FSP
from understudy.methods.ickd import ICKD as ICKD
from understudy.methods.irg import IRG as IRG
from understudy.methods.kd import KD as KD
from understudy.methods.kdsvd import KDSVD as KDSVD
from understudy.methods.ldrld import LDRLD as LDRLD
from understudy.methods.localisation import Localisation as Localisation
from understudy.methods.logit_regression import LogitRegression as LogitRegression
from understudy.methods.mgd import MGD as MGD
from understudy.methods.minilm import MiniLM as MiniLM
from understudy.methods.mlkd import MLKD as MLKD
from understudy.methods.n3 import N3 as N3
from understudy.methods.neurons import Neurons as Neurons
from understudy.methods.nkd import NKD as NKD
from understudy.methods.noisy_teacher import NoisyTeacher as NoisyTeacher
from understudy.methods.norm import NORM as NORM
from understudy.methods.nst import NST as NST
from understudy.methods.ofa import OFA as OFA
from understudy.methods.ofd import OFD as OFD
from understudy.methods.outputs import Outputs as Outputs
from understudy.methods.pad import PAD as PAD
from understudy.methods.patient_kd import Patience as Patience
from understudy.methods.pkd import PKD as PKD
from understudy.methods.pkt import PKT as PKT
from understudy.methods.pseudo_labels import PseudoLabels as PseudoLabels
from understudy.methods.review import Review as Review
from understudy.methods.rkd import RKDAngle as RKDAngle
from understudy.methods.rkd import RKDDistance as RKDDistance
from understudy.methods.rld import RLD as RLD
from understudy.methods.rocket import Rocket as Rocket
from understudy.methods.scalekd import ScaleKD as ScaleKD
from understudy.methods.sdd import SDD as SDD
from understudy.methods.several_teachers import SeveralTeachers as SeveralTeachers
from understudy.methods.several_teachers import Vote as Vote
from understudy.methods.simkd import SimKD as SimKD
from understudy.methods.skd import Direction as Direction
from understudy.methods.sp import SP as SP
from understudy.methods.srd import SRD as SRD
from understudy.methods.srrl import SRRL as SRRL
from understudy.methods.sskd import SSKD as SSKD
from understudy.methods.sskd import ViewHead as ViewHead
from understudy.methods.standardised_kd import StandardisedKD as StandardisedKD
from understudy.methods.tf_kd_reg import VirtualTeacher as VirtualTeacher
from understudy.methods.tinybert import TinyBERT as TinyBERT
from understudy.methods.triplets import Triplets as Triplets
from understudy.methods.ttm import TransformedTeacher as TransformedTeacher
from understudy.methods.vid import VID as VID
from understudy.methods.wsl import WeightedSoftLabels as WeightedSoftLabels
from understudy.objective.labels import CE as CE
from understudy.objective.labels import Labels as Labels
from understudy.objective.term import Expression as Expression
from understudy.objective.term import Facts as Facts
from understudy.objective.term import Reading as Reading
from understudy.objective.term import Reads as Reads
from understudy.objective.term import Shapes as Shapes
from understudy.objective.term import Sum as Sum
from understudy.objective.term import Term as Term
from understudy.objective.term import as_sum as as_sum

TERMS: dict[str, type[Term]] = {
    name: thing
    for name, thing in sorted(globals().items())
    if isinstance(thing, type) and issubclass(thing, Term) and thing is not Term
}
