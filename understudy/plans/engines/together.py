"""Several trainings in this process, in turn, step by step: who learns from the same teacher shares its passes."""

from types import TracebackType

from understudy.errors import FailedTrainingError
from understudy.plans.engines.base import Ended, Engine, EngineEntry, Request
from understudy.plans.training import Casts, Job, Work
from understudy.teacher.shared import SharedPasses
from understudy.training.callbacks import Callback
from understudy.training.interleaved import Turns
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training

MOST = 8  # trainings at once, where nobody says how many: their students are all in memory


class Together(Engine):
    """``workers`` trainings at once, whose students and optimizers are in memory together; a teacher is there once."""

    parallel = 1

    def __init__(self, workers: int | None, casts: Casts, callback: Callback, stop: StopRequest):
        self.workers, self.casts, self.callback, self.stop = workers or MOST, casts, callback, stop
        self._shared, self._turns = SharedPasses(), Turns()
        self._works: dict[Training, Work] = {}

    def start(self, job: Job) -> None:
        work = Work(job, self.casts, self.callback.of(job.name), self.stop, self._shared)
        self._works[work.training] = work
        self._shared.most = len(self._works)
        self._turns.add(work.training)

    def next(self) -> Ended:
        try:
            work = self._works.pop(self._turns.until_one_ends())
        except FailedTrainingError as failure:
            self._works = {
                training: work for training, work in self._works.items() if training.name != failure.training
            }
            raise
        finally:
            self._shared.most = len(self._works)
        return Ended(work.job.name, work.finish())

    def close(self) -> None:
        self._turns.leave()
        self._works.clear()
        self._shared = SharedPasses()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not KeyboardInterrupt:  # asked for twice: leave at once, with what was saved before
            self.close()


def _together(request: Request, casts: Casts, callback: Callback, stop: StopRequest) -> Engine:
    return Together(request.workers, casts, callback, stop)


ENGINE = EngineEntry(
    "together",
    "all trainings in this process, step by step in turn, with each pass of their teacher shared",
    _together,
    sharing=lambda workers: 1,
)
