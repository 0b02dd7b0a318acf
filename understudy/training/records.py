"""The records of a training: a line per epoch, the outcome of each stage, and the result of the training.

Each file is written and read by the same type. A file of another format, or one that is damaged, is one clear line.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from understudy.errors import UserError
from understudy.files import DIGEST, contents, fits, sealed
from understudy.tasks import LOSS

Figures = dict[str, float]


class Record(BaseModel):
    """The base of everything that is written as JSON. Unknown keys are errors; NaN and infinity are preserved.

    Example:
        >>> StageEnd(stage="labels", epochs=3).model_dump_json(exclude_none=True)
        '{"stage":"labels","epochs":3,"kept":"last","validation":{}}'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    def content(self) -> dict[str, JsonValue]:
        """The record as plain data; fields that were never set are left out.

        >>> StageEnd(stage="labels", epochs=3, kept="last").content()
        {'stage': 'labels', 'epochs': 3, 'kept': 'last'}
        """
        return self.model_dump(mode="json", exclude_unset=True)


class DamagedFileError(UserError):
    """The content of a file has changed since it was written."""


class File(Record):
    """A record that is a whole file, with the version of its format, and the SHA-256 of its content."""

    FORMAT: ClassVar[int] = 1
    format: int = 1

    @classmethod
    def read(cls, path: Path, *, way_out: str) -> Self:
        """The content of a file; a damaged one raises a `DamagedFileError` of one line with the remedy."""
        try:
            return cls.of_text(contents(path).decode(), path, way_out=way_out)
        except UnicodeDecodeError as error:
            raise DamagedFileError(f"{path} is damaged ({error}): {way_out}") from error
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error

    @classmethod
    def of_text(cls, text: str, path: Path, *, way_out: str) -> Self:
        """The content of a text; ``path`` is named in errors."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(f"{path} is damaged ({error}): {way_out}") from error
        if not isinstance(content, dict):
            raise DamagedFileError(f"{path} is damaged (a {type(content).__name__} in place of a table): {way_out}")
        if not fits(content):
            raise DamagedFileError(f"{path} is damaged (its digest does not fit): {way_out}")
        content = {key: value for key, value in content.items() if key != DIGEST}
        number = content.get("format")
        if number != cls.FORMAT:
            written = "names no format" if number is None else f"is of format {number!r}"
            raise UserError(f"{path} {written}, and this version of understudy reads format {cls.FORMAT}: {way_out}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise DamagedFileError(f"{path} is damaged ({_first(error)}): {way_out}") from error

    def text(self) -> str:
        """The file's content: the same record gives the same bytes."""
        return json.dumps(sealed(json.loads(self.model_dump_json())), indent=2, ensure_ascii=False) + "\n"


class Epoch(Record):
    """An epoch of a training: a line of ``metrics.jsonl``; fields of other programs' lines are left out.

    Example:
        >>> epoch = Epoch(training="kd-0", epoch=1, loss=0.5, validation={"accuracy": 0.75, "loss": 0.5})
        >>> Epoch.of_line(epoch.line()) == epoch
        True
        >>> epoch.selecting_value
        0.75
    """

    model_config = ConfigDict(extra="ignore")

    training: str
    stage: str = ""
    epoch: int
    lr: float | None = None
    loss: float | None = None
    terms: Figures = Field(default_factory=dict)  # each term before its weight
    weights: Figures = Field(default_factory=dict)
    gradient_shares: Figures = Field(default_factory=dict)
    train: Figures = Field(default_factory=dict)  # the first figure over training batches, as they are trained on
    seconds: float | None = None  # of the training so far
    validation: Figures = Field(default_factory=dict)

    @classmethod
    def of_line(cls, line: str) -> Self:
        """The epoch of a line; a ``ValueError`` if it holds none."""
        return cls.model_validate(json.loads(line))

    def line(self) -> str:
        """The epoch as a line of ``metrics.jsonl``."""
        return json.dumps(self.content()) + "\n"

    @property
    def selecting_value(self) -> float | None:
        """The first figure on the validation part, which selects; None where there is none."""
        return first_of(self.validation)


class StageEnd(Record):
    """The outcome of a stage."""

    stage: str
    taught: bool | None = None  # whether its objective reads a teacher
    epochs: int
    kept: Literal["best", "last"] = "last"
    best_epoch: int | None = None
    validation: Figures = Field(default_factory=dict)  # of the weights that were kept


class TrainingRecord(File):
    """``result.json`` of one finished training.

    Example:
        >>> end = StageEnd(stage="labels", epochs=3, validation={"accuracy": 0.75, "loss": 0.5})
        >>> record = TrainingRecord(training="alone-0", stages=[end])
        >>> record.epochs, record.selecting_value
        (3, 0.75)
    """

    model_config = ConfigDict(extra="ignore")

    training: str
    key: str = ""
    node: dict[str, JsonValue] = Field(default_factory=dict)
    stages: list[StageEnd] = Field(default_factory=list)
    seconds: float | None = None  # of all sessions together
    steps: int = 0
    objectives: dict[str, str] = Field(default_factory=dict)
    session_seconds: float | None = None
    digests: dict[str, str] = Field(default_factory=dict)  # SHA-256 of each file beside it

    def content(self) -> dict[str, JsonValue]:
        return {"format": self.format, **super().content()}

    def text(self) -> str:
        return json.dumps(self.content(), indent=2) + "\n"

    @property
    def validation(self) -> Figures:
        """The figures of the final student."""
        return self.stages[-1].validation if self.stages else {}

    @property
    def selecting_value(self) -> float | None:
        """The first of these figures, by which trainings are compared; None where there is none."""
        return first_of(self.validation)

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)


def first_of(validation: Mapping[str, float]) -> float | None:
    """The selecting figure of a validation; None for a stage without answers.

    Example:
        >>> first_of({"accuracy": 0.5, "loss": 1.0}), first_of({"loss": 1.0})
        (0.5, None)
    """
    return next((value for name, value in validation.items() if name != LOSS), None)


def _first(error: ValidationError) -> str:
    """The first of its complaints, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole file"
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
