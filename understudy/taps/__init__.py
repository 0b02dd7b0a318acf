"""Taps: read hidden values of any network, trace its shapes, propose where to read, and map one value onto another."""

from understudy.taps.taps import CLASSIFICATION as CLASSIFICATION
from understudy.taps.taps import Answer as Answer
from understudy.taps.taps import Observation as Observation
from understudy.taps.taps import Pair as Pair
from understudy.taps.taps import Side as Side
from understudy.taps.taps import Tap as Tap
from understudy.taps.taps import TappedNetwork as TappedNetwork
from understudy.taps.taps import call as call
from understudy.taps.taps import eagerly as eagerly
from understudy.taps.taps import evaluating as evaluating
from understudy.taps.taps import find as find
from understudy.taps.taps import inner as inner
from understudy.taps.taps import is_bare as is_bare
from understudy.taps.taps import is_compiled as is_compiled
from understudy.taps.taps import layers as layers
from understudy.taps.taps import logits_in as logits_in
from understudy.taps.taps import picked as picked
from understudy.taps.taps import precision_of as precision_of
