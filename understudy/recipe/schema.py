"""What a recipe may say: a plan written down as data, every value checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from understudy.stored import Stored
from understudy.training.course import Course
from understudy.training.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Table(BaseModel):
    """Nothing unknown, nothing silently converted in a way that changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataTable(Table):
    """Which data, where they are, and how much of the training part selects instead of training."""

    name: str
    root: str | None = None
    validation: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = 0.1
    student_samples: Annotated[int, Field(ge=1)] | None = None  # students see only so many; a teacher trained here, all
    size: Annotated[int, Field(ge=1)] | None = None  # of pictures from a folder
    channels: Literal[1, 3] = 3  # of pictures from a folder
    extra: bool = False  # SVHN's extra training images, too
    workers: Annotated[int, Field(ge=0)] = 2
    whiten: bool = False  # FitNets' contrast normalisation and ZCA, instead of each network's own mean and std


class NetworkTable(Table):
    """A network by name, its settings, and what stands before it."""

    network: str
    settings: Mapping[str, Any] = Field(default_factory=dict)
    mean: tuple[float, ...] | None = None  # of each channel; by default the training part's
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None


class TeacherTable(NetworkTable):
    """The teacher: weights that exist, or a course on which it is trained first."""

    weights: str | None = None
    prefix: str | None = None  # of the names in the file; by default the one that fits is found
    accuracy: Share | None = None  # on the test part, as whoever trained it says
    accept_weak: bool = False  # go on with a teacher that answers at chance level
    train: Course | None = None
    one_for_all: bool = False  # train one teacher for all seeds, not one for each

    @model_validator(mode="after")
    def _one_source(self) -> "TeacherTable":
        if (self.weights is None) == (self.train is None):
            raise ValueError("give either 'weights' (a file) or a table 'train' (how to train it), one of the two")
        return self


class MethodTable(Table):
    """A method with its settings; its course and its seeds where they differ from the run's."""

    method: str
    settings: Mapping[str, Any] = Field(default_factory=dict)
    train: Course
    seeds: Seeds | None = None
    balance: bool = False  # weigh the terms by their gradients, not by the method's numbers


class TuneTable(Table):
    """What ``understudy tune`` searches; a run of the recipe does not look at it."""

    method: str | None = None  # whose settings are sought; by default the one that ``search`` names, or the last
    seeds: Seeds | None = None  # of each trial
    search: Mapping[str, str] = Field(default_factory=dict)  # the space of each setting
    random: Annotated[int, Field(ge=1)] = 10  # so many trials are drawn at random before any is learned from
    prune: bool = True  # stop trials that fall behind
    grace: Annotated[int, Field(ge=1)] = 3  # epochs that every trial gets
    sampler_seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: Seeds | None) -> Seeds | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError("each seed once")
        return seeds


class Recipe(Table):
    """A run: data, teacher, student, a course, and the methods that are compared on it, for every seed."""

    title: str = ""
    seeds: Seeds = (0,)
    data: DataTable
    teacher: TeacherTable | None = None
    teachers: tuple[TeacherTable, ...] = ()  # instead of one, in an order that methods may heed
    student: NetworkTable
    train: Course = Field(default_factory=Course)
    methods: Annotated[Mapping[str, MethodTable], Field(min_length=1)]
    settings: Settings = Field(default_factory=Settings)
    stored: Stored | None = None  # whether teachers' answers are kept; a table without keys says yes
    tune: TuneTable | None = None

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Recipe":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: each seed once")
        for name, table in self.methods.items():
            if table.seeds is not None and sorted(set(table.seeds) & set(self.seeds)) != sorted(table.seeds):
                raise ValueError(f"methods.{name}.seeds: some of the run's seeds {list(self.seeds)}, each once")
        return self

    @model_validator(mode="after")
    def _one_or_several(self) -> "Recipe":
        if self.teacher and self.teachers:
            raise ValueError("teachers: give either one table [teacher] or several [[teachers]]")
        return self

    @property
    def taught_by(self) -> dict[str, TeacherTable]:
        """The teachers by name: ``teacher``, or ``teacher1``, ``teacher2`` and so on."""
        several = {f"teacher{number}": table for number, table in enumerate(self.teachers, start=1)}
        return {"teacher": self.teacher} if self.teacher else several

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """The seeds on which a method is trained: all of the run's, unless its table says fewer."""
        return self.methods[method].seeds or self.seeds
