"""One training after another, in this process."""

from understudy.plans.engines.base import Ended, Engine
from understudy.plans.training import Casts, Job, carry_out
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest


class Here(Engine):
    """Needs nothing, and shows every step."""

    def __init__(self, casts: Casts, callback: Callback, stop: StopRequest):
        self.casts, self.callback, self.stop = casts, callback, stop
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        self.job = job

    def next(self) -> Ended:
        job, self.job = self.job, None
        assert job is not None
        return Ended(job.name, carry_out(job, self.casts, self.callback.of(job.name), self.stop))
