"""Changes of the tokens of texts, as functions of (seed, epoch, sample id)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from understudy import nested, randomness
from understudy.bounds import STRICT, Interval, Share, ShareBelowOne
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.randomness import Number
from understudy.tasks.task import Task
from understudy.tasks.words import IDS, MASK, Words, tables_of

_MOST = 1 << 17  # places of a text that have random numbers of their own; a length is at most 100,000


@dataclass(frozen=True)
class TokenNoise:
    """Some tokens of each text are masked or left out, and tags of words follow; none where all three shares are 0.

    ``[CLS]``, ``[SEP]`` and their like stay, and one token at least of each text, and of both texts of a pair. Teacher
    and student are given the same tokens.

    Reference: Tang et al., "Distilling task-specific knowledge from BERT into simple neural networks", 2019.
    Differences: the authors mask words, and a token may be a piece of one; they put words of the same part of speech in
    the place of some, which is not done here, and leave none out (``drop``); their sentences are made once, before the
    training.

    Args:
        mask: the share of the tokens in whose place stands ``[MASK]`` or ``<mask>``; for a vocabulary of words, which
            has neither, ``[UNK]``.
        drop: the share of the tokens that are left out.
        span: the share of the texts of which only some tokens in a row are kept; of a pair some of each text. Such a
            text may not say what its label says: the check warns of it.
        longest: the most tokens of such a row; their number is drawn between 1 and this one.

    >>> print(TokenNoise(span=0.25))
    TokenNoise(mask=0.1, drop=0.0, span=0.25, longest=5)
    """

    mask: ShareBelowOne = 0.1
    drop: ShareBelowOne = 0.0
    span: Share = 0.0
    longest: Annotated[int, Interval(ge=1, le=100_000)] = 5

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    @property
    def displaces(self) -> bool:
        """Whether tokens move up to the places of others."""
        return self.drop > 0 or self.span > 0

    def draw(
        self, inputs: Nested, targets: Nested, seed: int, epoch: Number, ids: Tensor, *, task: Task, check: bool = True
    ) -> tuple[Nested, Nested]:
        """One view of each text, and its targets.

        Args:
            epoch: the number of the view, or one for each text.
            ids: the numbers of the samples, on the device of the inputs.
            check: look whether the task knows these tokens, for which a device is waited for.
        """
        if not isinstance(task, Words) or not isinstance(inputs, Mapping):
            raise UserError(
                f"tokens changes texts by the vocabulary of their task, and task {task.name!r} has none: leave it out"
            )
        if further := sorted(tables_of(inputs)):
            raise UserError(
                f"tokens changes the tokens of one table, and these texts have those of {', '.join(further)}, too, "
                "whose tokens are others: leave it out, or give teacher and student one table"
            )
        tokens, mask = inputs.get(IDS), inputs.get(MASK)
        if not isinstance(tokens, Tensor) or not isinstance(mask, Tensor):
            raise UserError(f"tokens changes texts, whose inputs are {IDS} and {MASK}: these are {', '.join(inputs)}")
        if check:
            self._check(tokens, mask, task)
        rows, there = _Rows(seed, epoch, ids, mask.shape[1]), mask.bool()
        free = there & ~torch.isin(tokens, torch.tensor(task.special_ids, device=ids.device))
        stretch = (~free).cumsum(1)  # the two texts of a pair are two
        kept = self._in_span(rows, free) if self.span else free
        if self.drop:
            kept = kept & ~rows.chosen(self.drop, "drop", kept, stretch)
        if self.mask:
            tokens = tokens.masked_fill(rows.chosen(self.mask, "mask", kept, stretch), task.mask_id)
        if not self.displaces:
            return {**inputs, IDS: tokens}, targets
        kept = kept | (there & ~free)
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)  # what is kept moves to the front
        filled = rows.places < kept.sum(1, keepdim=True)

        def moved(value: Tensor) -> Tensor:
            return value.gather(1, order) if value.shape == order.shape else value

        others = {name: nested.each(moved, value) for name, value in inputs.items()}
        tokens = moved(tokens).masked_fill(~filled, task.padding_id)
        return {**others, IDS: tokens, MASK: filled.to(mask.dtype)}, task.reordered(targets, order, filled)

    def of_task(self, task: Task) -> dict[str, object]:
        """What views depend on beside these settings: the numbers of the task's own tokens."""
        if not isinstance(task, Words):
            return {}
        mask, padding = task.mask_id if self.mask else None, task.padding_id if self.displaces else None
        return {"special_ids": task.special_ids, "mask_id": mask, "padding_id": padding}

    def doubt(self, task: Task, *, labels: bool, taught: bool, clean: bool) -> str | None:
        """Why views are doubtful beside labels, or the teacher's answers to whole texts; None: they are not.

        Args:
            labels: whether a term reads the labels.
            taught: whether a term reads the teacher.
            clean: whether the teacher's answers are those to whole texts.
        """
        if not (self.span and (labels or clean)) or task.dense:  # tags stay with their words
            return None
        what = "the label of the text says" if labels else "the teacher answers to the whole text (answers.clean)"
        way = "Let the student learn from the teacher alone (label_weight = 0 of kd)" if labels else "Leave clean out"
        if not taught:
            way = "Train without span what has no teacher (augmentation.tokens = { mask = 0.1 } in its own table train)"
        return f"tokens.span keeps a few tokens of some texts, which may not say what {what}. {way}, or leave span out"

    def _check(self, tokens: Tensor, mask: Tensor, task: Words) -> None:
        """Raises a ``UserError`` for texts of which the task does not know what stays, or where tokens move to."""
        if (largest := int(tokens.max())) >= task.token_count:
            raise UserError(
                f"tokens: these texts have token {largest:,}, and the task knows {task.token_count:,} tokens, so that "
                "beginning, end and mask are unknown: give the task the vocabulary or the tokenizer that made them"
            )
        if self.displaces and bool((mask[:, 1:] > mask[:, :-1]).any()):
            raise UserError(
                f"tokens: drop and span move tokens to the front, and here an {MASK} begins with padding: put padding "
                "at the end, or set drop and span to 0"
            )

    def _in_span(self, rows: "_Rows", free: Tensor) -> Tensor:
        """The tokens that stay where some in a row are kept, of each stretch between special tokens."""
        columns = free.shape[1]
        before = rows.places.where(~free, -1).cummax(1).values
        after = rows.places.where(~free, columns).flip(1).cummin(1).values.flip(1)
        count = rows.integers("longest", 1, self.longest + 1)
        starts = (after - before - count).clamp(min=1)  # the number of places at which such a row can begin
        first = before + 1 + (rows.each("start") * starts).long().minimum(starts - 1)
        inside = (rows.places >= first) & (rows.places < first + count)
        return free & (inside | (rows.each("span") >= self.span))


class _Rows:
    """The random numbers of some texts and of their tokens."""

    def __init__(self, seed: int, epoch: Number, ids: Tensor, columns: int):
        self.seed, self.ids = seed, ids.unsqueeze(1)
        self.epoch = epoch if isinstance(epoch, int) else epoch.unsqueeze(1)
        self.places = torch.arange(columns, device=ids.device).expand(len(ids), -1)

    def each(self, purpose: str) -> Tensor:
        """A number for each text (N, 1)."""
        return randomness.uniform(self.seed, self.epoch, self.ids, f"tokens/{purpose}")

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """A whole number for each text (N, 1)."""
        return randomness.integers(self.seed, self.epoch, self.ids, f"tokens/{purpose}", low, high)

    def chosen(self, share: float, purpose: str, among: Tensor, stretch: Tensor) -> Tensor:
        """A share of these tokens, and never all of a stretch."""
        drawn = randomness.uniform(self.seed, self.epoch, self.ids * _MOST + self.places, f"tokens/{purpose}")
        lowest = drawn.new_full((len(drawn), drawn.shape[1] + 1), -1)
        largest = lowest.scatter_reduce(1, stretch, drawn.masked_fill(~among, -1), "amax").gather(1, stretch)
        return among & (drawn < share) & (drawn != largest)
