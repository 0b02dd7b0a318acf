"""The search for settings on the validation part. It can be stopped at any time and continued."""

from understudy.tuning.trials import Trial as Trial
from understudy.tuning.tune import TuneCallback as TuneCallback
from understudy.tuning.tune import Tuning as Tuning
