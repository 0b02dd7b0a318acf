"""The search for settings: on the validation part alone, stopped anywhere, gone on with."""

from understudy.tuning.trials import Trial as Trial
from understudy.tuning.tune import TuneCallback as TuneCallback
from understudy.tuning.tune import Tuning as Tuning
