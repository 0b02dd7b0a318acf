"""One value of a teacher's answers, an output or a tap: its files, and the records read from them."""

from collections.abc import Callable, Sequence
from urllib.parse import quote

import torch
from torch import Tensor

from understudy.answers.encoding import Form, form_of
from understudy.answers.file import Shelf
from understudy.answers.folder import AnswerFolder
from understudy.answers.options import StoredAnswers
from understudy.config.hardware import relative_difference, rounding
from understudy.errors import UserError
from understudy.taps import Answer, Tap, TappedNetwork


class Value:
    """The file of the current view, and the records of the samples of a batch."""

    def __init__(
        self, store: AnswerFolder, tap: Tap | str, stored: StoredAnswers, places: int, note: Callable[[str], None]
    ):
        self.store, self.tap, self.places, self.note = store, tap, places, note
        self.kept = stored.kept(tap)
        name = tap if isinstance(tap, str) else f"tap-{quote(str(tap), safe='')}"  # a module may have the same name
        self.name = name if self.kept == "exact" else f"{name}@{self.kept}"
        self.form = store.form(self.name)
        if self.form is None and not store.fill:
            raise UserError(f"{store.path} holds no {self.name!r}, and nothing is to be added (fill = false)")
        self.shelf: Shelf | None = None
        self.view = self.shelf_of = 0
        self.words = self.there = torch.zeros(0)

    def find(self, view: int, ids: Tensor) -> Tensor:
        """Look these samples up; answers with which are there."""
        self.view = view
        if self.form is None:
            self.there = torch.zeros(len(ids), dtype=torch.bool)
            return self.there
        self._turn_to(view, self.form)
        assert self.shelf is not None
        self.words, self.there, damaged = self.shelf.read(ids)
        if damaged.any():
            self.note(
                f"{self.shelf.path}: the answers about samples {ids[damaged].tolist()[:5]} are damaged "
                "(their checksums do not fit): the teacher is asked again"
            )
        return self.there

    def take(self, answer: Answer) -> None:
        """Replace missing records by the words of the live answer."""
        live = value_of(answer, self.tap)
        if self.form is None:
            self.form = form_of(live, self.kept)
            self.words = self.form.encode(live)
            return
        self._check_form(live)
        self.words = torch.where(self.there[:, None], self.words, self.form.encode(live))

    def write(self, ids: Tensor) -> None:
        assert self.form is not None
        if self.shelf is None:
            self.store.claim(self.name, self.form)
            self._turn_to(self.view, self.form)
        assert self.shelf is not None
        self.shelf.write(ids[~self.there], self.words[~self.there])

    def decoded(self) -> Tensor:
        assert self.form is not None
        return self.form.decode(self.words)

    def compare(self, answer: Answer) -> None:
        """Compare the records with the teacher's ``answer`` to the first samples, or to all of them."""
        live = value_of(answer, self.tap)
        here = self.there[: len(live)]
        if self.form is None or not here.any():
            return
        self._check_form(live)
        decoded = self.form.decode(self.words[: len(live)])[here]
        distance = relative_difference(*(self.form.comparable(values) for values in (decoded, live.cpu()[here])))
        if not distance <= max(rounding(kind, live.device) for kind in (self.form.given, self.form.kept)):
            raise UserError(
                f"{self.store.path} does not belong to this teacher: its answers lie {distance:.2g} (of the largest "
                f"value) from those stored there as {self.name!r}. Remove that folder, or choose another one"
            )

    def _check_form(self, live: Tensor) -> None:
        assert self.form is not None
        form = form_of(live, self.kept)
        if (form.shape, form.given) != (self.form.shape, self.form.given):
            raise UserError(
                f"{self.store.path}: {self.name!r} is stored as {self.form.given} of {self.form.shape}, and the "
                f"teacher answers with {form.given} of {form.shape}. Remove that folder, or choose another one"
            )

    def _turn_to(self, view: int, form: Form) -> None:
        if self.shelf is not None and self.shelf_of == view:
            return
        if self.shelf is not None:
            self.shelf.close()
        self.shelf, self.shelf_of = Shelf(self.store.file(self.name, view), self.places, form.words), view


def value_of(answer: Answer, tap: Tap | str) -> Tensor:
    """The value at a tap, or the output of this name."""
    return answer.named[tap] if isinstance(tap, str) else answer[tap]


def values_of(teacher: TappedNetwork) -> list[Tap | str]:
    """The values that are read of a teacher: taps, and the names of its outputs."""
    return [*teacher.taps, *([] if teacher.cut else teacher.task.values)]


def forms(stored: StoredAnswers, answers: Sequence[Answer]) -> list[Form]:
    """The form in which these answers are stored."""
    return [form_of(value, stored.kept(place)) for answer in answers for place, value in answer.tensors().items()]
