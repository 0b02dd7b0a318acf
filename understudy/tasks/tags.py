"""Token classification: a tag for each word of a sentence; of entities in BIO, measured by exact spans."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Interval, Share
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact, wide
from understudy.tasks.classification import LOGITS, UNKNOWN
from understudy.tasks.meters import MeanLoss
from understudy.tasks.task import Figure, Meter, Numbers, Rows, Task, Told, Values, only
from understudy.tasks.words import SPECIAL, Words

NO_WORD = -100  # the target of a token with which no word begins, as in Hugging Face's examples
OUTSIDE = "O"
TAGS = "tags"  # of a kept answer: the tag of each token, NO_WORD where no word begins


@dataclass(frozen=True)
class Tags(Words, Task):
    """A tag for each word: targets (N, length) at the first token of each word, answers logits (N, length, tags).

    A text is words with blanks between. What a tokenizer makes of a word after its first token counts nowhere
    (``NO_WORD``).

    Args:
        classes: the tags in the order of their numbers; of entities ``O``, ``B-PER``, ``I-PER`` and so on.
        vocabulary, length, tokens, tokenizer: as of ``Text``; with ``"words"`` a word is one token.
        scheme: ``"bio"`` for entities, whose F1 selects; ``"plain"`` for tags of single words, such as parts of speech.
        commonest_share: of the training words that of the most common tag, which is what chance reaches.

    >>> task = Tags(("O", "B-PER"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "anna"), length=6)
    >>> logits = torch.eye(2)[[0, 1, 0, 0, 0, 0]].unsqueeze(0)
    >>> task.of_text(task.told({"logits": logits})[0], "Anna sings").text
    'PER: Anna'
    """

    classes: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = SPECIAL
    length: Annotated[int, Interval(ge=3, le=100_000)] = 128
    tokens: Literal["words", "wordpiece", "tokenizer"] = "words"
    tokenizer: str = ""
    scheme: Literal["bio", "plain"] = "bio"
    commonest_share: Share | None = None

    name: ClassVar[str] = "tags"
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "many"
    dense: ClassVar[bool] = True
    takes_words: ClassVar[bool] = True
    whole_words: ClassVar[bool] = True
    pairs: ClassVar[bool] = False  # type: ignore[misc]  # a field of other tasks of texts
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("agreement", "agrees with the teacher", unit="share"),)

    def __post_init__(self) -> None:
        self.check_words()
        if self.scheme == "bio" and self.classes:
            kinds(self.classes)

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        if names is None or isinstance(names, int):
            raise UserError(f"task {cls.name!r}: name the tags, as in classes=['O', 'B-PER', 'I-PER']")
        numbers = _numbers(targets)
        counts = numbers[numbers != NO_WORD].bincount()
        share = round((counts.max() / counts.sum()).item(), 4) if len(counts) else None
        make: Callable[..., Self] = cls
        return make(**{"classes": tuple(names), "commonest_share": share, **settings})

    @property
    def figures(self) -> tuple[Figure, ...]:
        accuracy = Figure("accuracy", "accuracy of words", unit="share", chance=self.commonest_share)
        f1 = Figure("f1", "F1 of entities", unit="share", chance=0.0)
        return (f1, accuracy) if self.scheme == "bio" else (accuracy,)

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    @property
    def about(self) -> str:
        return f"{len(self.classes)} tags of words, {self.token_count:,} tokens"

    def luck(self, figure: Figure, samples: int) -> float:
        """The most common tag for every word is right as often as chance says; a little more is no knowledge."""
        return 0.1 * (1 - figure.chance) if figure.name == "accuracy" and figure.chance is not None else 0.0

    def converted(self, targets: Nested) -> Nested:
        return _numbers(targets).to(torch.int64)

    def check(self, targets: Nested) -> None:
        numbers, count = _numbers(targets), len(self.classes)
        wrong = (((numbers < 0) | (numbers >= count)) & (numbers != NO_WORD)).any(1).nonzero().flatten()
        if len(wrong):
            raise UserError(
                f"sample {int(wrong[0])} has tags that are not numbered 0 to {count - 1} ({NO_WORD}: no word begins)"
            )
        empty = (numbers == NO_WORD).all(1).nonzero().flatten()
        if len(empty):
            raise UserError(f"sample {int(empty[0])} has no word with a tag: leave it out")

    def has_label(self, targets: Nested) -> Tensor:
        return ~(_numbers(targets) == UNKNOWN).any(1)

    def unlabelled(self, sentences: Sequence[str]) -> tuple[dict[str, Tensor], Tensor]:
        """Sentences without tags as a batch of inputs, and their targets: ``UNKNOWN`` where a word begins."""
        inputs, places = self.aligned([sentence.split() for sentence in sentences])
        numbers = torch.full((len(sentences), self.length), NO_WORD)
        for row, of_words in zip(numbers, places, strict=True):
            row[[place for place in of_words if place >= 0]] = UNKNOWN
        return inputs, numbers

    def reordered(self, targets: Nested, order: Tensor, filled: Tensor) -> Tensor:
        return _numbers(targets).gather(1, order).where(filled, NO_WORD)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        """The likeliest tag of each word."""
        chosen = answer[LOGITS].argmax(2)
        if targets is None:
            return chosen
        numbers = _numbers(targets)
        chosen = F.pad(chosen, (0, numbers.shape[1] - chosen.shape[1]), value=NO_WORD)
        return chosen.where(numbers != NO_WORD, NO_WORD)

    def answer(self, output: object) -> Values:
        return {LOGITS: only(output, LOGITS)}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[LOGITS].shape[1:])
        if len(shape) == 2 and shape[1] == len(self.classes):
            return None
        return (
            f"it answers with shape {shape}, and must with (tokens, {len(self.classes)}), the scores of each token: "
            'take pool = "none" of text-encoder, or head = "tokens" of transformers'
        )

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The cross-entropy, the mean over the words of a sentence."""
        logits = wide(answer[LOGITS])
        numbers = self._there(targets, logits)
        values = F.cross_entropy(logits.mT, numbers, reduction="none", ignore_index=NO_WORD, label_smoothing=smoothing)
        return values.sum(1) / (numbers != NO_WORD).sum(1).clamp_min(1)

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """One row for each token; those with which a word begins count."""
        if targets is None:
            return Rows(answer[LOGITS])
        numbers = self._there(targets, answer[LOGITS])
        counts = numbers != NO_WORD
        return Rows(answer[LOGITS], numbers.where(counts, 0), counts)

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        logits = wide(answer[LOGITS])
        if targets is None:
            return Numbers(logits.flatten(1))
        counts = (self._there(targets, logits) != NO_WORD).to(logits.dtype).unsqueeze(2).expand_as(logits)
        return Numbers(logits.flatten(1), counts.flatten(1))

    def together(self, answers: Sequence[Values]) -> Values:
        """The logarithm of the mean of the probabilities; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        return {LOGITS: torch.stack([exact(answer[LOGITS]).softmax(2) for answer in answers]).mean(0).log()}

    def meter(self) -> Meter:
        return TagMeter(self)

    def kept(self, answer: Values, targets: Nested) -> Values:
        """The tag of each word, at its first token."""
        return {TAGS: self._chosen(answer, self._there(targets, answer[LOGITS]))}

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        words = student[TAGS] != NO_WORD
        return {"agreement": exact(student[TAGS] == teacher[TAGS])[words].mean().item()}

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """The share of each tag's words that are right, over the seeds; None for a tag without words."""
        numbers, count = _numbers(targets), len(self.classes)
        words = numbers != NO_WORD
        of_tag = numbers[words].bincount(minlength=count)
        right = torch.stack(
            [numbers[(answer[TAGS] == numbers) & words].bincount(minlength=count) for answer in answers]
        )
        shares = exact(right.sum(0)) / (of_tag * len(answers))
        return {"options": [None if share != share else share for share in shares.tolist()]}

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The tag of every token; ``of_text`` says which of them are words of a text."""
        chosen = [[self.classes[tag] for tag in sentence] for sentence in answer[LOGITS].argmax(2).tolist()]
        return [Told(" ".join(tags), {TAGS: tags}) for tags in chosen]

    def of_text(self, told: Told, text: str) -> Told:
        """The entities of a text, or the tag of each of its words; a word past the last token has none."""
        given, tags = text.split(), told.record[TAGS]
        assert isinstance(tags, list)
        (places,) = self.aligned([given])[1]
        found = [str(tags[place]) if place >= 0 else None for place in places]
        words = [{"word": word, "tag": tag} for word, tag in zip(given, found, strict=True)]
        if self.scheme == "plain":
            return Told(" ".join(f"{word}/{tag}" for word, tag in zip(given, found, strict=True)), {"words": words})
        spans = entities([tag or OUTSIDE for tag in found])
        named = [
            {"entity": kind, "text": " ".join(given[first : last + 1]), "first": first, "last": last}
            for kind, first, last in spans
        ]
        line = "; ".join(f"{one['entity']}: {one['text']}" for one in named) or "no entity"
        return Told(line, {"words": words, "entities": named})

    def _there(self, targets: Nested, logits: Tensor) -> Tensor:
        """The targets of the tokens that an answer has: a batch may be without the columns that are all padding."""
        return _numbers(targets)[:, : logits.shape[1]]

    def _chosen(self, answer: Values, numbers: Tensor) -> Tensor:
        return answer[LOGITS].argmax(2).where(numbers != NO_WORD, NO_WORD)


class TagMeter:
    """F1 of the entities, accuracy of words and loss, from counts of all sentences.

    An entity is right if its kind, its first and its last word are, which is what ``seqeval`` counts by default and
    ``conlleval`` does. Where nothing is found or nothing is there, F1 is 0.

    >>> meter = TagMeter(Tags(("O", "B-PER", "I-PER")))
    >>> meter.update({"logits": torch.eye(3)[[1, 2, 0]].unsqueeze(0)}, torch.tensor([[1, 2, 0]]))
    >>> meter.compute()["f1"]
    1.0
    """

    def __init__(self, task: Tags):
        self.task, self.loss = task, MeanLoss(task)
        self.counts: Tensor | None = None  # entities that are right, found and there; words that are right, words

    def update(self, answer: Values, targets: Nested) -> None:
        numbers = self.task._there(targets, answer[LOGITS])
        chosen = self.task._chosen(answer, numbers)
        words = numbers != NO_WORD
        of_words = torch.stack((((chosen == numbers) & words).sum(), words.sum()))
        of_entities = torch.zeros(3, dtype=of_words.dtype, device=of_words.device)
        if self.task.scheme == "bio":
            of_entities = counted(chosen, numbers, kinds(self.task.classes))
        counts = torch.cat((of_entities, of_words))
        self.counts = counts if self.counts is None else self.counts + counts
        self.loss.update(answer, targets)

    def compute(self) -> dict[str, float]:
        loss = self.loss.compute()
        assert self.counts is not None
        right, found, there, of_words, words = self.counts.tolist()
        f1 = {"f1": 2 * right / (found + there) if found + there else 0.0} if self.task.scheme == "bio" else {}
        return {**f1, "accuracy": of_words / max(words, 1), **loss}


def kinds(classes: Sequence[str]) -> tuple[tuple[int, bool], ...]:
    """Of each tag the number of its kind of entity, -1 for none, and whether it is a beginning (``B-``).

    >>> kinds(("O", "B-PER", "I-PER"))
    ((-1, False), (0, True), (0, False))
    """
    numbers: dict[str, int] = {}
    found = []
    for tag in classes:
        mark, dash, kind = tag.partition("-")
        if tag != OUTSIDE and not (mark in ("B", "I") and dash and kind):
            raise UserError(f"tag {tag!r} is none of O, B-KIND and I-KIND: for other tags take scheme = 'plain'")
        found.append((-1, False) if tag == OUTSIDE else (numbers.setdefault(kind, len(numbers)), mark == "B"))
    return tuple(found)


def counted(chosen: Tensor, numbers: Tensor, marks: Sequence[tuple[int, bool]]) -> Tensor:
    """How many entities of the answers are right, how many they have, and how many there are: (3,).

    Args:
        chosen, numbers: tags (N, T) of the answers and of the targets, NO_WORD where no word begins.
        marks: the ``kinds`` of the tags.

    >>> there = torch.tensor([[1, 2, NO_WORD, 0, 1]])
    >>> counted(torch.tensor([[1, 2, NO_WORD, 0, 2]]), there, ((-1, False), (0, True), (0, False))).tolist()
    [2, 2, 2]
    """
    order = (numbers == NO_WORD).to(torch.uint8).argsort(dim=1, stable=True)  # words before all others, in their order
    spans = [_spans(tags.gather(1, order), marks) for tags in (chosen, numbers)]
    (begins, kind, end), (true_begins, true_kind, true_end) = spans
    right = begins & true_begins & (kind == true_kind) & (end == true_end)
    return torch.stack((right.sum(), begins.sum(), true_begins.sum()))


def _spans(tags: Tensor, marks: Sequence[tuple[int, bool]]) -> tuple[Tensor, Tensor, Tensor]:
    """Whether an entity begins with each word, its kind, and the number of the first word after it."""
    device, width = tags.device, tags.shape[1]
    kinds_of = torch.tensor([*(kind for kind, _ in marks), -1], device=device)
    begin = torch.tensor([*(first for _, first in marks), False], device=device)
    places = torch.where(tags == NO_WORD, len(marks), tags)
    kind, marked = kinds_of[places], begin[places]
    before = F.pad(kind[:, :-1], (1, 0), value=-1)
    begins = (kind >= 0) & (marked | (before != kind))
    ends = torch.where(begins | (kind < 0), torch.arange(width, device=device), width)
    after = F.pad(ends[:, 1:], (0, 1), value=width).flip(1).cummin(1).values.flip(1)
    return begins, kind, after


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities of a sentence: kind, first and last word, as in conlleval; ``I-`` after another kind begins one.

    >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
    [('PER', 0, 1), ('LOC', 3, 3)]
    """
    found = list[tuple[str, int, int]]()
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-")
        if tag == OUTSIDE:
            continue
        if mark == "I" and found and found[-1][0] == kind and found[-1][2] == place - 1:
            found[-1] = (kind, found[-1][1], place)
        else:
            found.append((kind, place, place))
    return found


def _numbers(targets: Nested) -> Tensor:
    if not isinstance(targets, Tensor) or targets.ndim != 2:
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise UserError(f"targets are {shape}; give the number of each token's tag, (N, length)")
    return targets
