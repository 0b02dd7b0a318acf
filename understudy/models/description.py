"""The description of a student: how to rebuild it, its inputs and its outputs."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.data.images import COLOURS, RULE, RULES, SHORT_SIDE, TORCHVISION
from understudy.data.pixels import Decoder
from understudy.errors import UserError
from understudy.files import DIGEST, fits
from understudy.models.outside import is_library
from understudy.tasks import Classification, Task, from_description


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Named(_Table):
    """A network by name and settings."""

    name: str
    settings: dict[str, object] = Field(default_factory=dict)


class Input(_Table):
    """One sample: its shape, of images the range of the values and how an image of any size becomes a sample."""

    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    range: tuple[float, float] | None = None  # of images
    tensors: tuple[str, ...] = ()  # the names of several tensors, as of a text or a cloud of points
    dtype: Literal["bool", "uint8", "int8", "int16", "int32", "int64"] | None = None  # of whole numbers
    image: str = RULE
    resize: Annotated[int, Field(ge=1)] | None = None  # the short side, of rules with one
    decoder: Decoder = "pillow"


class Description(_Table):
    """``student.json``, which exported files carry inside them, too.

    Unknown keys are a mistake: one flipped bit in the name of a key would otherwise leave its value out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Named | None
    own_class: str = Field(alias="class")
    arguments: bool = False  # whether the class cannot be called without arguments
    front: dict[str, object] | None
    graft: dict[str, object] | None = None  # the part of its teacher that it keeps
    output: str | int | None = None  # which of the tensors that the network returns is its answer
    input: Input
    classes: Annotated[tuple[str, ...], Field(min_length=1)]  # the names of the outputs
    task_described: dict[str, object] | None = Field(default=None, alias="task")  # name and settings of the task
    parameters: int | None = None
    sha256: str | None = None  # of the weights
    digest: str | None = None  # of the description itself
    format: Literal[1]

    @property
    def task(self) -> Task:
        """The task of the answers; a description without a task is of a classifier."""
        return Classification(self.classes) if self.task_described is None else from_description(self.task_described)

    @property
    def path(self) -> str:
        """The name that builds it; for a network that was passed as an object, its class."""
        return self.network.name if self.network else self.own_class

    @property
    def module(self) -> str | None:
        """The module of the user that must be imported for it, if any."""
        where, colon, _ = self.path.removeprefix("python:").partition(":")
        return where if colon and not is_library(self.path) else None

    @property
    def takes_images(self) -> bool:
        pixels = len(self.input.shape) == 3 and self.input.shape[0] in COLOURS and not self.input.tensors
        return pixels and self.input.image in RULES and self._sized

    @property
    def _sized(self) -> bool:
        """Whether the short side is there if the rule has one, and leaves enough pixels for a sample."""
        if self.input.image not in (SHORT_SIDE, TORCHVISION):
            return self.input.resize is None
        return self.input.resize is not None and self.input.resize >= max(self.input.shape[1:])


def parsed(text: str | bytes, source: str) -> Description:
    """The description in a JSON text; a ``UserError`` if it is not valid."""
    try:
        content = json.loads(text)
        description = Description.model_validate(content)
        if fits(content):
            return description
        reason = (
            "it is damaged (its digest does not fit). In a run folder the same distill command heals it; "
            f"if it was changed on purpose, remove the line {DIGEST!r}"
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        reason = f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise UserError(f"{source} is not a student's description: {reason}")
