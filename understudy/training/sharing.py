"""One pass of the teachers for several trainings of one process that ask them about the same batch."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from understudy.data.parts import Batch, Data
from understudy.data.views import Draw, Views
from understudy.objective import Objective
from understudy.stored.fingerprints import brief, of_network, of_pool, of_samples
from understudy.taps import Answer
from understudy.training.settings import Settings

Answers = tuple[Answer, ...]


class SharedPasses:
    """The latest answers, for whoever asks next; ``most`` batches are remembered, one for each training is enough."""

    def __init__(self, most: int):
        self.most = most
        self._latest: OrderedDict[tuple[str, Draw | None, bytes], Answers] = OrderedDict()

    def answers(self, question: str, batch: Batch, ask: Callable[[], Answers]) -> Answers:
        """What ``ask`` answers, or what it answered to the same ``question`` about the same samples and views."""
        ids = batch.ids.cpu() if batch.numbers is None else batch.numbers
        key = (question, batch.draw, ids.numpy().tobytes())
        if key not in self._latest:
            self._latest[key] = ask()
            if len(self._latest) > self.most:
                self._latest.popitem(last=False)
        return self._latest[key]


def question(objective: Objective, data: Data, views: Views, settings: Settings, forms: Sequence[str]) -> str | None:
    """All that the teachers' answers to a batch depend on; None where an answer serves only whom it was given.

    ``forms`` say how each teacher is asked: its precision, and which of its layers were folded.
    """
    if not objective.teachers or objective.terms.reads.gradients:
        return None
    teachers = [
        f"{of_network(teacher.network)} {teacher.taps} {teacher.cut} {form}"
        for teacher, form in zip(objective.teachers, forms, strict=True)
    ]
    return brief([of_samples(data.train.source), of_pool(data.train), str(views), str(settings), *teachers])
