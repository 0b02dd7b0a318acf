"""Methods: functions from a training configuration and the method's settings to stages."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack, get_origin

from torch import nn

from understudy import bounds
from understudy.bounds import MOST_EPOCHS, NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError, did_you_mean
from understudy.objective.labels import CE, Labels
from understudy.objective.term import Expression, Term, unfit
from understudy.printable import shown
from understudy.taps.defaults import PLACEHOLDERS, PROPOSALS
from understudy.tasks.task import Task

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_ANY = TrainConfig(epochs=MOST_EPOCHS)  # of which only the terms are asked; a first stage of any length fits into it
LabelWeight = NonNegative | Literal["rest"]  # "rest" is 1 - weight, so that one number sets both


@dataclass(frozen=True)
class Method:
    """A published method: ``stages(config, **settings)``, and its description.

    >>> from understudy.methods import find
    >>> print(find("kd")(TrainConfig(epochs=3), temperature=2.0)[0].objective)
    0.1 * CE() + 0.9 * KD(temperature=2.0)

    Args:
        name: its name in recipes and on the command line.
        stages: makes the stages; its keyword-only arguments are settings of the method.
        family: the group in which tables list the method.
        year, paper: of the publication.
        reads_teacher: false for a method that needs no trained teacher.
        guides: where assistants are named, the student learns from the ``last`` of them, or from ``all`` networks that
            are larger.
        needs_assistants: whether the method needs assistants.
        of_assistants: settings that differ while an assistant learns; None leaves one at its default.
        grafts: ``grafts(student, teacher, settings)`` puts modules into the student before any stage, for a method
            whose student keeps them: a part of the teacher (``understudy.models.Graft``), or further layers.
        term: the fields of this term are settings of the method as well, with their defaults and bounds; ``stages``
            then receives the term that was made from them: ``stages(config, term, **others)``.
        preset: fields of the term that have another default in this method, for a variant of a published method.
        proposed_by: settings whose taps are proposed by another rule than that of their name (see ``taps.defaults``).
        doc: the description, where it is not the docstring of ``stages`` or of the module.
    """

    name: str
    stages: Callable[..., list[Stage]]
    family: str
    year: int
    paper: str
    reads_teacher: bool = True
    guides: Literal["last", "all"] = "last"
    needs_assistants: bool = False
    of_assistants: Mapping[str, object] = field(default_factory=dict)
    grafts: Callable[[nn.Module, nn.Module, Mapping[str, object]], None] | None = None
    term: type[Term] | None = None
    preset: Mapping[str, object] = field(default_factory=dict)
    proposed_by: Mapping[str, str] = field(default_factory=dict)
    doc: str = ""

    @property
    def description(self) -> str:
        """``doc``, or the docstring of ``stages``, or else that of the module that defines the method."""
        of_stages = inspect.getdoc(self.stages) if inspect.isfunction(self.stages) else None
        module = sys.modules.get((self.term or self.stages).__module__)
        return inspect.cleandoc(self.doc) or of_stages or inspect.getdoc(module) or ""

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings of the method, all keyword-only: those of the term first."""
        return self._of_term() | _keywords(self.stages)

    def _of_term(self) -> dict[str, inspect.Parameter]:
        if self.term is None:
            return {}
        hints = bounds.hints(self.term)
        return {
            f.name: inspect.Parameter(
                f.name, _KEYWORD, default=self.preset.get(f.name, _default(f.default)), annotation=hints[f.name]
            )
            for f in fields(self.term)  # type: ignore[arg-type]
        }

    @property
    def kinds(self) -> dict[str, Any]:
        """The kind of each setting, by its annotation; any, where it has none or one that cannot be read."""
        hints = {name: parameter.annotation for name, parameter in self.settings.items()}
        return {
            name: Any if hint is inspect.Parameter.empty or isinstance(hint, str) else hint
            for name, hint in hints.items()
        }

    def terms(self, settings: Mapping[str, object] = MappingProxyType({})) -> tuple[Term, ...]:
        """The terms of its stages; none where they follow from settings that are not given."""
        proposed = {name: PLACEHOLDERS[name] for name in self.needed if name in PLACEHOLDERS}
        given = {**proposed, **{name: value for name, value in settings.items() if value is not None}}
        if any(name not in given for name in self.needed):
            return ()
        stages = self(_ANY, **given)
        return tuple(part.term for stage in stages for part in stage.objective.parts)

    @property
    def per(self) -> Literal["row", "sample", "batch"]:
        """On what the losses of its terms depend, beside the labels: one row of class scores, one sample, the batch."""
        terms = [term for term in self.terms() if not isinstance(term, Labels)]
        if any(term.reads.batch for term in terms):
            return "batch"
        return "row" if terms and all(term.per == "row" for term in terms) else "sample"

    def unfit(self, task: Task, settings: Mapping[str, object] = MappingProxyType({})) -> str | None:
        """Why the method has no meaning for a task, in words; None if it has one.

        >>> from understudy.methods import find
        >>> from understudy.tasks import Regression
        >>> find("fitnets-joint").unfit(Regression()) is None, find("kd").unfit(Regression()) is None
        (True, False)
        """
        if not task.labelled and (needed := self._needs_labels(settings)):
            return needed
        if self.grafts is not None and task.dense:
            return (
                f"its student leaves with other layers at a linear classifier, and answers of {task.name!r} are dense"
            )
        terms = [term for term in self.terms(settings) if task.labelled or not isinstance(term, Labels)]
        return next((reason for term in terms if (reason := unfit(term, task)) is not None), None)

    def _needs_labels(self, settings: Mapping[str, object]) -> str | None:
        """Why nothing trains the whole student once the loss of the labels is left out; None if something does."""
        terms = self.terms(settings)
        others = [term for term in terms if not isinstance(term, Labels)]
        if terms and not others:
            return "it learns from labels alone, and the data have none"
        by_teachers_head = self.grafts is not None and not any(isinstance(term, Labels) for term in self.terms())
        if by_teachers_head or self.family == "own" or not terms or any(term.reads.student_output for term in others):
            return None
        return "without labels it trains features only, and the student's last layer would stay as it began"

    def labels(self, settings: Mapping[str, object]) -> str:
        """The terms of the labels' loss, which data without labels leave out; empty if there are none."""
        return ", ".join(dict.fromkeys(str(term) for term in self.terms(settings) if isinstance(term, Labels)))

    def stages_for(self, task: Task, config: TrainConfig, settings: Mapping[str, object]) -> list[Stage]:
        """Its stages; without the loss of the labels, where the data of the task have none."""
        stages = self(config, **settings)
        if task.labelled:
            return stages
        return [left for stage in stages if (left := stage.without_labels()) is not None]

    @property
    def needed(self) -> list[str]:
        """The settings without a default."""
        return [name for name, parameter in self.settings.items() if parameter.default is parameter.empty]

    def complete(self, settings: Mapping[str, object]) -> dict[str, object]:
        """The settings with the defaults of those that are not given."""
        return {name: settings.get(name, parameter.default) for name, parameter in self.settings.items()}

    def for_assistants(self, settings: Mapping[str, object]) -> dict[str, object]:
        """A student's settings as its assistants inherit them; taps that were named are the student's alone."""
        own = {name for name, value in self.of_assistants.items() if value is None} | set(PROPOSALS)
        return {name: value for name, value in {**settings, **self.of_assistants}.items() if name not in own}

    def is_taught(self, settings: Mapping[str, object]) -> bool:
        """Whether it reads a teacher with these settings; ``dml`` needs a teacher only by a setting."""
        return self.reads_teacher or any(term.reads.teacher for term in self.terms(settings))

    def __call__(self, config: TrainConfig, **settings: object) -> list[Stage]:
        self.check_names(settings)
        given = {name: self._checked(name, value) for name, value in settings.items()}
        if self.term is None:
            return self.stages(config, **given)
        of_term = self._of_term()
        missing = [name for name, p in of_term.items() if p.default is p.empty and name not in given]
        if missing:
            raise UserError(f"method {self.name!r} needs the setting {missing[0]!r}: give it a value")
        make: Callable[..., Term] = self.term
        term = make(**{name: given.pop(name, parameter.default) for name, parameter in of_term.items()})
        return self.stages(config, term, **given)

    def _checked(self, name: str, value: object) -> object:
        """A setting's value, checked against its annotation; a single pair of taps needs no brackets."""
        hint = self.kinds[name]
        if value is None:
            return value
        given = (value,) if isinstance(value, str) and get_origin(hint) is tuple else value
        given = tuple(given) if isinstance(given, list) else given
        if reason := bounds.wrong(hint, given):
            raise UserError(f"method {self.name!r}: {name} = {shown(value)}: {reason}")
        return given

    def check_names(self, settings: Iterable[str]) -> None:
        """Raises a ``UserError`` for the name of an unknown setting."""
        unknown = sorted(set(settings) - set(self.settings))
        if unknown:
            raise UserError(
                f"method {self.name!r} has no setting {unknown[0]!r}{did_you_mean(unknown[0], self.settings)}"
            )


class _Further(TypedDict, total=False):
    """The other arguments of ``Method``."""

    reads_teacher: bool
    guides: Literal["last", "all"]
    needs_assistants: bool
    of_assistants: Mapping[str, object]
    grafts: Callable[[nn.Module, nn.Module, Mapping[str, object]], None]
    preset: Mapping[str, object]
    proposed_by: Mapping[str, str]
    doc: str


def one_stage(
    name: str,
    term: type[Term],
    *,
    stage: str,
    family: str,
    year: int,
    paper: str,
    labels: bool = True,
    weight: float | None = None,
    label_weight: float | None = None,
    **further: Unpack[_Further],
) -> Method:
    """A method of one stage, ``label_weight * CE + weight * term``: its settings are the fields of the term.

    >>> from understudy.methods.dist import DIST
    >>> method = one_stage("mine", DIST, stage="labels and mine", weight=2.0, family="logits", year=2026, paper="none")
    >>> list(method.settings), str(method(TrainConfig(), beta=3.0)[0].objective)
    (['beta', 'gamma', 'temperature', 'weight'], 'CE() + 2 * DIST(beta=3.0)')

    Args:
        name, family, year, paper: as for ``Method``.
        term: the class of the term, a frozen dataclass.
        stage: the name of the stage.
        labels: whether there is a cross-entropy with the labels.
        weight, label_weight: settings of the method with these defaults; where one is None, that weight is 1 and no
            setting. With a label weight of 0, the labels are not read where the term reads the student's logits itself;
            with "rest" it is ``1 - weight``.
        further: the other arguments of ``Method``.
    """
    return Method(name, _OneStage(stage, labels, weight, label_weight), family, year, paper, term=term, **further)


@dataclass(frozen=True)
class _OneStage:
    """The stages of a method of one stage."""

    stage: str
    labels: bool
    weight: float | None
    label_weight: float | None

    @property
    def __signature__(self) -> inspect.Signature:
        weights = [("weight", self.weight, NonNegative), ("label_weight", self.label_weight, LabelWeight)]
        return inspect.Signature(
            [
                inspect.Parameter(name, _KEYWORD, default=value, annotation=kind)
                for name, value, kind in weights
                if value is not None
            ]
        )

    def __call__(
        self,
        config: TrainConfig,
        term: Term,
        *,
        weight: float | None = None,
        label_weight: float | Literal["rest"] | None = None,
    ) -> list[Stage]:
        weight = self.weight if weight is None else weight
        label_weight = weight_of_labels(weight, self.label_weight if label_weight is None else label_weight)
        objective: Expression = term if weight is None else weight * term
        if self.labels and label_weight is None:
            objective = CE() + objective
        elif self.labels and label_weight is not None and (label_weight or not term.reads.student_logits):
            objective = label_weight * CE() + objective
        return [Stage(self.stage, objective, config)]


def weight_of_labels(weight: float | None, label_weight: float | Literal["rest"] | None) -> float | None:
    """The weight of the labels as a number: "rest" is 1 less ``weight``.

    >>> weight_of_labels(0.75, "rest"), weight_of_labels(0.75, 0.1)
    (0.25, 0.1)
    """
    if label_weight != "rest":
        return label_weight
    if weight is None or not 0 <= weight <= 1:
        raise UserError(f'label_weight = "rest" is 1 - weight: weight = {weight} is not between 0 and 1')
    return 1 - weight


def _keywords(stages: Callable[..., list[Stage]]) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(stages, eval_str=True).parameters.values()
    except NameError:  # an annotation that is imported for type checkers alone
        parameters = inspect.signature(stages).parameters.values()
    return {p.name: p for p in parameters if p.kind is _KEYWORD}


def _default(value: object) -> object:
    return inspect.Parameter.empty if value is MISSING else value
