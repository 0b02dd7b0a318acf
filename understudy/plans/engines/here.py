"""One training after another, in this process."""

from understudy.plans.engines.base import Ended, Engine
from understudy.plans.training import Builders, Job, carry_out, store_answers
from understudy.training.callbacks import Callback
from understudy.training.filling import Filled
from understudy.training.interrupt import StopRequest


class Here(Engine):
    """Runs each training in this process, with a callback at every step."""

    def __init__(self, builders: Builders, callback: Callback, stop: StopRequest):
        self.builders, self.callback, self.stop = builders, callback, stop
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        self.job = job

    def next(self) -> Ended:
        job, self.job = self.job, None
        assert job is not None
        return Ended(job.name, carry_out(job, self.builders, self.callback.of(job.name), self.stop))

    def store_answers(self, job: Job) -> list[Filled]:
        return store_answers(job, self.builders, self.callback.of(job.name), self.stop)
