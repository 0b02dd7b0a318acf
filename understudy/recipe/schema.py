"""The schema of recipes. Every value is checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, PlainSerializer, field_validator, model_validator

from understudy.answers import StoredAnswers
from understudy.bounds import (
    Count,
    Epochs,
    Finite,
    Interval,
    NonNegative,
    Pixels,
    Positive,
    Processes,
    Seed,
    Share,
    ShareBelowOne,
    Whole,
)
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.methods import Method
from understudy.models.from_teacher import FromTeacher
from understudy.models.preprocessing import Interpolation
from understudy.trackers import TrackerName

# A method by name. A call from Python may pass one without a name, made of its own terms or stages.
MethodName = str | Annotated[InstanceOf[Method], PlainSerializer(str, when_used="json")]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1)]
Place = Annotated[int, Interval(ge=-1_000, le=1_000)]  # in a tuple; negative ones count from its end


class Table(BaseModel):
    """No unknown keys, and no conversion that changes a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkTable(Table):
    """A network by name, its settings, its first weights, and its preprocessing."""

    network: str
    settings: Mapping[str, object] = Field(default_factory=dict)
    pretrained: bool | str | None = None  # its library's weights and preprocessing: true, or which ones
    weights: str | None = None  # a file; by default those that the library keeps or fetches, or fresh ones
    prefix: str | None = None  # of the names in the file; by default the one that fits is found
    mean: tuple[Finite, ...] | None = None  # of each channel; by default the training part's, or the library's
    std: tuple[Positive, ...] | None = None
    size: Pixels | None = None  # side of the images that it gets; by default as they come, or the library's
    interpolation: Interpolation | None = None  # by which images are resized to it
    output: str | Place | None = None  # which tensor is the answer, where it returns several
    token_table: str | None = None  # which of data.token_tables its texts are read by; by default the data's own

    @model_validator(mode="after")
    def _fits_together(self) -> "NetworkTable":
        if self.prefix is not None and self.weights is None:
            raise ValueError("'prefix' is of the names in a file of weights: give 'weights', too")
        if self.interpolation is not None and self.size is None and not self.pretrained:
            raise ValueError("'interpolation' is how images are resized: give 'size', too")
        return self

    @property
    def library_network(self) -> str:
        """The network of a library whose weights ``pretrained`` are: the network itself, or its backbone."""
        backbone = self.settings.get("backbone")
        return backbone if isinstance(backbone, str) and ":" not in self.network else self.network

    @property
    def begins_trained(self) -> bool:
        """Whether its first weights are not fresh ones."""
        return self.weights is not None or bool(self.pretrained)


class TeacherTable(NetworkTable):
    """The teacher: existing weights, or the config by which it is trained first (from these weights, if any)."""

    accuracy: Share | None = None  # on the test part, as its authors report it
    accept_weak: bool = False  # continue with a teacher at chance level
    train: TrainConfig | None = None
    terms: str | None = None  # its terms in that config, where it has more than the labels
    one_for_all: bool = False  # train one teacher for all seeds instead of one per seed

    @model_validator(mode="after")
    def _has_a_source(self) -> "TeacherTable":
        if not self.begins_trained and self.train is None:
            raise ValueError(
                "give 'weights' (a file), pretrained = true (its library's), or a table 'train' (how to train it)"
            )
        if self.terms is not None and self.train is None:
            raise ValueError("'terms' are what a teacher learns that is trained here: give a table 'train', too")
        return self


class DataTable(Table):
    """The data set, its folder, and the share of the training part that is used for validation."""

    name: str
    root: str | None = None
    validation: Whole | ShareBelowOne = 0.1
    student_samples: Count | None = None  # training samples of students; a teacher that is trained here uses all
    # Further training samples, without labels, of students with a teacher: a folder of images, a file of texts, or a
    # MODULE:FUNCTION that returns inputs; true: the training samples that student_samples leaves out
    unlabelled: str | Literal[True] | None = None
    settings: Mapping[str, Any] = Field(default_factory=dict)  # of this data set alone; in a file beside the others
    task: str | Mapping[str, object] | None = None  # its name, or name and settings; by default that of the data set
    workers: Processes = 2
    memory: NonNegative | None = None  # gigabytes that the samples of a part may take; by default as the machine has
    # FitNets' contrast normalisation and ZCA, or "local" contrast normalisation, instead of each network's mean and std
    whiten: bool | Literal["local"] = False
    answered_by: tuple[TeacherTable, ...] | None = None  # without labels: the networks whose answers are the targets

    @model_validator(mode="before")
    @classmethod
    def _settings_apart(cls, given: Any) -> Any:
        """A data set's own settings may stand beside the keys that all data sets have."""
        if not isinstance(given, Mapping):
            return given
        beside = {key: value for key, value in given.items() if key not in cls.model_fields}
        common = {key: value for key, value in given.items() if key in cls.model_fields}
        return common | {"settings": {**given.get("settings", {}), **beside}} if beside else given

    @model_validator(mode="after")
    def _rest_of_a_part(self) -> "DataTable":
        if self.unlabelled is True and self.student_samples is None:
            raise ValueError(
                "unlabelled = true means the training samples that 'student_samples' leaves out: give it, too, or the "
                "path of samples without labels"
            )
        return self

    @property
    def with_labels(self) -> "DataTable":
        """The data without the samples that have no labels."""
        return self.model_copy(update={"unlabelled": None})


class StudentTable(NetworkTable):
    """The student, and how its first weights come about: drawn at random, or those of layers of the teacher."""

    from_teacher: FromTeacher | None = None


class Learning(Table):
    """A method with its settings, and its config where that differs from ``[train]``."""

    method: MethodName
    settings: Mapping[str, object] = Field(default_factory=dict)
    train: TrainConfig
    balance: bool = False  # weight the terms by their gradients instead of the method's weights


class AssistantTable(NetworkTable):
    """A network of intermediate size that is trained by the previous one and teaches the next."""

    learns: Learning | None = None  # None: as the student does


class MethodTable(Learning):
    """A method of the student: its seeds, where they are fewer than the run's, and its assistants."""

    seeds: Seeds | None = None
    assistants: tuple[AssistantTable, ...] | Literal["auto"] = ()
    ends: Mapping[str, tuple[Epochs, ...]] = Field(default_factory=dict)  # of a seed: after which epochs stages end


class PathTable(Table):
    """The assistants that `understudy path` tries between teacher and student, and the search strategy."""

    sizes: tuple[Count | str, ...] = ()  # of the assistants, from large to small; by default those of the papers
    family: str | None = None  # by default the student's
    by: str | None = None  # the setting that is the size, where it is not part of the network's name
    strategy: Literal["every", "best-first", "limited", "rule"] = "every"
    max_assistants: Annotated[int, Interval(ge=0, le=1_000)] | None = None
    method: str | None = None  # the table of the method of all trainings; by default the first one with a teacher
    learns: Learning | None = None  # the assistants; None: as the student does
    alone: bool = False  # also train each size without a teacher
    quick_epochs: Epochs | None = None  # of the rule's trials; by default a third of the config

    @model_validator(mode="after")
    def _limited(self) -> "PathTable":
        if self.max_assistants is not None and self.strategy != "limited":
            raise ValueError('max_assistants is the limit of strategy = "limited"')
        if len(set(self.sizes)) != len(self.sizes):
            raise ValueError("sizes: each size once")
        return self


class TuneTable(Table):
    """The search of ``understudy tune``; a run of the recipe ignores it."""

    method: str | None = None  # the method that is tuned; by default the one that ``search`` names, or the last
    seeds: Seeds | None = None  # of each trial
    search: Mapping[str, str] = Field(default_factory=dict)  # the space of each setting
    random: Count = 10  # trials that are drawn at random before the sampler uses results
    prune: bool = True  # stop trials that are worse than others at the same epoch
    grace: Epochs = 3  # epochs that every trial gets
    sampler_seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: Seeds | None) -> Seeds | None:
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError("each seed once")
        return seeds


class Recipe(Table):
    """A run: data, teacher, student, a config, and the methods that are compared on it, for every seed."""

    title: str = ""
    seeds: Seeds = (0,)
    data: DataTable
    teacher: TeacherTable | None = None
    teachers: tuple[TeacherTable, ...] = ()  # instead of one; the order may matter to a method
    student: StudentTable
    train: TrainConfig = Field(default_factory=TrainConfig)
    methods: Annotated[Mapping[str, MethodTable], Field(min_length=1)]
    keep: str | None = None  # the method whose student the run leaves; by default that of the best on validation
    settings: Settings = Field(default_factory=Settings)
    path: PathTable | None = None
    answers: StoredAnswers | None = None  # whether teachers' answers are stored; a table without keys means yes
    tune: TuneTable | None = None
    trackers: tuple[TrackerName, ...] = ()  # where trainings are logged, too; no part of what the run is

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
