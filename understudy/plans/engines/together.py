"""Several trainings in this process, step by step in turn. Students of the same teacher share its forward passes."""

from types import TracebackType

from understudy.errors import FailedTrainingError
from understudy.plans.engines.base import Ended, Engine, EngineEntry, Request
from understudy.plans.training import Builders, Job, RunningJob
from understudy.teacher.shared import SharedPasses
from understudy.training.callbacks import Callback
from understudy.training.interleaved import Interleaved
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training

MOST = 8  # the default number of trainings at once, whose students are all in memory


class Together(Engine):
    """``workers`` trainings at once. Their students and optimizers are in memory together, each teacher once."""

    parallel = 1

    def __init__(self, workers: int | None, builders: Builders, callback: Callback, stop: StopRequest):
        self.workers, self.builders, self.callback, self.stop = workers or MOST, builders, callback, stop
        self._shared, self._interleaved = SharedPasses(), Interleaved()
        self._running: dict[Training, RunningJob] = {}

    def start(self, job: Job) -> None:
        running = RunningJob(job, self.builders, self.callback.of(job.name), self.stop, self._shared)
        self._running[running.training] = running
        self._shared.most = len(self._running)
        self._interleaved.add(running.training)

    def next(self) -> Ended:
        try:
            ended = self._running.pop(self._interleaved.until_one_ends())
        except FailedTrainingError as failure:
            self._running = {
                training: job for training, job in self._running.items() if training.name != failure.training
            }
            raise
        finally:
            self._shared.most = len(self._running)
        return Ended(ended.job.name, ended.finish())

    def close(self) -> None:
        self._interleaved.leave()
        self._running.clear()
        self._shared = SharedPasses()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not KeyboardInterrupt:  # a second request: end at once, with the last saved state
            self.close()


def _together(request: Request, builders: Builders, callback: Callback, stop: StopRequest) -> Engine:
    return Together(request.workers, builders, callback, stop)


ENGINE = EngineEntry(
    "together",
    "all trainings in this process, step by step in turn, with each pass of their teacher shared",
    _together,
    sharing=lambda workers: 1,
)
