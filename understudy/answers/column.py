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
from understudy.randomness import Number
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
        self.shelves: dict[int, Shelf] = {}  # the open files, by their views
        self.rows: dict[int, Tensor | slice] = {}  # of the batch, by their views
        self.words = self.there = torch.zeros(0)

    def find(self, view: Number, ids: Tensor) -> Tensor:
        """Look these samples up, in one view or each in its own; answers with which are there."""
        if isinstance(view, int):
            self.rows = {view: slice(None)}
        else:
            self.rows = {number: (view == number).nonzero().flatten() for number in view.unique().tolist()}
        if self.form is None:
            self.there = torch.zeros(len(ids), dtype=torch.bool)
            return self.there
        self._open(self.form)
        if isinstance(view, int):
            self.words, self.there = self._read(view, ids)
            return self.there
        found = {number: self._read(number, ids[rows]) for number, rows in self.rows.items()}
        back = torch.cat([torch.arange(len(ids))[rows] for rows in self.rows.values()]).argsort()
        self.words, self.there = (torch.cat(parts)[back] for parts in zip(*found.values(), strict=True))
        return self.there

    @property
    def first_view(self) -> int:
        """Of those that were looked up last."""
        return next(iter(self.rows), 0)

    def _read(self, view: int, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The records of these samples in a view, and which are there."""
        shelf = self.shelves[view]
        words, there, damaged = shelf.read(ids)
        if damaged.any():
            self.note(
                f"{shelf.path}: the answers about samples {ids[damaged].tolist()[:5]} are damaged "
                "(their checksums do not fit): the teacher is asked again"
            )
        return words, there

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
        if not self.shelves:
            self.store.claim(self.name, self.form)
            self._open(self.form)
        for view, rows in self.rows.items():
            missing = ~self.there[rows]
            self.shelves[view].write(ids[rows][missing], self.words[rows][missing])

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
        if not distance <= max(
            self.form.coarse, *(rounding(kind, live.device) for kind in (self.form.given, self.form.kept))
        ):
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

    def _open(self, form: Form) -> None:
        """Open the files of the batch's views, and close those of others."""
        if self.shelves.keys() == self.rows.keys():
            return
        for view in self.shelves.keys() - self.rows.keys():
            self.shelves.pop(view).close()
        for view in self.rows.keys() - self.shelves.keys():
            self.shelves[view] = Shelf(self.store.file(self.name, view), self.places, form.words)


def value_of(answer: Answer, tap: Tap | str) -> Tensor:
    """The value at a tap, or the output of this name."""
    return answer.named[tap] if isinstance(tap, str) else answer[tap]


def values_of(teacher: TappedNetwork) -> list[Tap | str]:
    """The values that are read of a teacher: taps, and the names of its outputs."""
    return [*teacher.taps, *([] if teacher.cut else teacher.task.values)]


def forms(stored: StoredAnswers, answers: Sequence[Answer]) -> list[Form]:
    """The form in which these answers are stored."""
    return [form_of(value, stored.kept(place)) for answer in answers for place, value in answer.tensors().items()]
