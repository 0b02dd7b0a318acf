"""What a method is: a function from a course and its own settings to stages."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_origin

from torch import nn

from understudy import bounds
from understudy.errors import UserError, did_you_mean
from understudy.proposals import PROPOSALS
from understudy.stage import Stage
from understudy.training.course import Course


@dataclass(frozen=True)
class Method:
    """A published method: ``stages(course, **settings)``, and what a person wants to know about it.

    Where assistants are named, the student learns from the ``last`` of them, or from ``all`` networks that are
    larger; and each of them learns as the student does, but for the settings in ``of_assistants``; None leaves one at
    its default.

    ``grafts(student, teacher, settings)`` is for one whose student leaves with a part of its teacher: it puts that part
    in place, before any stage (see ``understudy.models.Graft``).
    """

    name: str
    stages: Callable[..., list[Stage]]
    family: str
    year: int
    paper: str
    reads_teacher: bool = True
    guides: Literal["last", "all"] = "last"
    needs_assistants: bool = False
    of_assistants: Mapping[str, Any] = field(default_factory=dict)
    grafts: Callable[[nn.Module, nn.Module, Mapping[str, Any]], None] | None = None

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.stages) or "").splitlines()[0]

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings of its own, all keyword-only."""
        try:
            parameters = inspect.signature(self.stages, eval_str=True).parameters.values()
        except NameError:  # an annotation of somebody's own that is imported for type checkers alone
            parameters = inspect.signature(self.stages).parameters.values()
        return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    @property
    def kinds(self) -> dict[str, Any]:
        """Of which kind each setting is, by its annotation; one without, or with one that cannot be read, is of any."""
        said = {name: parameter.annotation for name, parameter in self.settings.items()}
        return {
            name: Any if hint is inspect.Parameter.empty or isinstance(hint, str) else hint
            for name, hint in said.items()
        }

    @property
    def needed(self) -> list[str]:
        """The settings without a default."""
        return [name for name, parameter in self.settings.items() if parameter.default is parameter.empty]

    def complete(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with the defaults of those that are not given."""
        return {name: settings.get(name, parameter.default) for name, parameter in self.settings.items()}

    def for_assistants(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A student's settings as its assistants inherit them; taps that were named are the student's alone."""
        own = {name for name, value in self.of_assistants.items() if value is None} | set(PROPOSALS)
        return {name: value for name, value in {**settings, **self.of_assistants}.items() if name not in own}

    def is_taught(self, settings: Mapping[str, Any]) -> bool:
        """Whether it reads a teacher with these settings; one that needs none may want one by a setting (``dml``)."""
        return self.reads_teacher or any(s.objective.reads.teacher for s in self(Course(), **settings))

    def __call__(self, course: Course, **settings: Any) -> list[Stage]:
        self.check_names(settings)
        return self.stages(course, **{name: self._checked(name, value) for name, value in settings.items()})

    def _checked(self, name: str, value: Any) -> Any:
        """A setting's value, if it is of the kind that its annotation says; a single pair of taps needs no brackets."""
        hint = self.kinds[name]
        if value is None:
            return value
        given = (value,) if isinstance(value, str) and get_origin(hint) is tuple else value
        if reason := bounds.wrong(hint, given):
            raise UserError(f"method {self.name!r}: {name} = {value!r}: {reason}")
        return given

    def check_names(self, settings: Iterable[str]) -> None:
        """That there is every setting which is named."""
        unknown = sorted(set(settings) - set(self.settings))
        if unknown:
            raise UserError(
                f"method {self.name!r} has no setting {unknown[0]!r}{did_you_mean(unknown[0], self.settings)}"
            )
