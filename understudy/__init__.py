"""Understudy: train a small, thin, fast network to stand in for a large one, and prove how well it does.

Four levels, each usable without those above it: ``losses`` (pure functions), terms and ``Objective`` (in your own
loop), ``distill`` (any teacher, any student, one call), and recipes on the command line.
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from understudy import data as data
from understudy import losses as losses
from understudy import methods as methods
from understudy import models as models
from understudy.data import Views as Views
from understudy.errors import UserError as UserError
from understudy.models.student import load as load
from understudy.objective import Objective as Objective
from understudy.objective import Outcome as Outcome
from understudy.objective.balance import balanced as balanced
from understudy.objective.weights import auto as auto
from understudy.objective.weights import linear as linear
from understudy.objective.weights import step as step
from understudy.settings import Settings as Settings
from understudy.stage import Stage as Stage
from understudy.stored import Stored as Stored
from understudy.taps import Pair as Pair
from understudy.taps import Tap as Tap
from understudy.taps import TappedNetwork as TappedNetwork
from understudy.terms import AB as AB
from understudy.terms import AT as AT
from understudy.terms import BSS as BSS
from understudy.terms import CAN as CAN
from understudy.terms import CATKD as CATKD
from understudy.terms import CC as CC
from understudy.terms import CE as CE
from understudy.terms import CRD as CRD
from understudy.terms import CWD as CWD
from understudy.terms import CWTM as CWTM
from understudy.terms import DGKD as DGKD
from understudy.terms import DIST as DIST
from understudy.terms import DKD as DKD
from understudy.terms import DKPP as DKPP
from understudy.terms import DML as DML
from understudy.terms import FSP as FSP
from understudy.terms import ICKD as ICKD
from understudy.terms import KD as KD
from understudy.terms import MGD as MGD
from understudy.terms import MLKD as MLKD
from understudy.terms import NKD as NKD
from understudy.terms import NST as NST
from understudy.terms import OFA as OFA
from understudy.terms import OFD as OFD
from understudy.terms import PKT as PKT
from understudy.terms import SP as SP
from understudy.terms import SRRL as SRRL
from understudy.terms import VID as VID
from understudy.terms import CCDifferences as CCDifferences
from understudy.terms import ClassDistance as ClassDistance
from understudy.terms import ClassSpread as ClassSpread
from understudy.terms import Confidence as Confidence
from understudy.terms import CRDBatch as CRDBatch
from understudy.terms import CurriculumKD as CurriculumKD
from understudy.terms import DarkRank as DarkRank
from understudy.terms import FactorTransfer as FactorTransfer
from understudy.terms import GradientAT as GradientAT
from understudy.terms import Hint as Hint
from understudy.terms import LogitRegression as LogitRegression
from understudy.terms import LogitsL1 as LogitsL1
from understudy.terms import Neurons as Neurons
from understudy.terms import NoisyTeacher as NoisyTeacher
from understudy.terms import Paraphraser as Paraphraser
from understudy.terms import Reading as Reading
from understudy.terms import Reads as Reads
from understudy.terms import Review as Review
from understudy.terms import RKDAngle as RKDAngle
from understudy.terms import RKDDistance as RKDDistance
from understudy.terms import Rocket as Rocket
from understudy.terms import SeveralTeachers as SeveralTeachers
from understudy.terms import SimKD as SimKD
from understudy.terms import StandardisedKD as StandardisedKD
from understudy.terms import Sum as Sum
from understudy.terms import Term as Term
from understudy.terms import Triplets as Triplets
from understudy.terms import VirtualTeacher as VirtualTeacher
from understudy.terms import Vote as Vote
from understudy.training import optimizers as optimizers
from understudy.training import rates as rates
from understudy.training.course import Course as Course
from understudy.training.watch import Lines as Lines
from understudy.training.watch import Watcher as Watcher

if TYPE_CHECKING:
    from understudy.runs.distill import Distilled as Distilled
    from understudy.runs.distill import distill as distill


def __getattr__(name: str) -> Any:
    """``distill`` is imported when it is first used: recipes and plans take longer to import than all the rest."""
    if name in ("distill", "Distilled"):
        from understudy.runs import distill as module

        return getattr(module, name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")
