"""The recipe of a call of ``understudy.distill``, which refers to networks and data that are objects."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

from torch import nn

from understudy import data as datasets
from understudy import methods
from understudy.answers import StoredAnswers
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data.sources import InMemory
from understudy.data.unlabelled import source_of
from understudy.errors import UserError
from understudy.methods import Method
from understudy.models import student as product
from understudy.models.fingerprints import brief, of_network, of_samples, of_values
from understudy.objective.term import Expression
from understudy.recipe import Recipe
from understudy.recipe.objects import OBJECT, GivenMethod, GivenNetwork, Objects
from understudy.recipe.schema import AssistantTable, DataTable, MethodTable, NetworkTable, StudentTable, TeacherTable
from understudy.runs.folder import RunFolder
from understudy.runs.named_answers import NamedAnswers, OutputChoices
from understudy.runs.records import BASELINE
from understudy.taps import Pair, Tap

Network = nn.Module | str | Callable[[], nn.Module]
Assistants = Sequence[Network] | Literal["auto"]


class Call:
    """The method of a call with its settings and its config.

    >>> Call("kd", {"temperature": 4}, None, epochs=2, baseline=True).config.epochs
    2
    """

    def __init__(
        self,
        method: str | Expression | Sequence[Stage],
        settings: Mapping[str, object],
        config: TrainConfig | None,
        epochs: int | None,
        baseline: bool,
    ):
        self.given = method if isinstance(method, str) else GivenMethod.of(method)
        self.method = methods.find(self.given)
        self.name = self.method.name
        stages = None if isinstance(method, (str, Expression)) else list(method)
        if stages is not None and (config is not None or epochs is not None):
            raise UserError(
                "config and epochs are not taken beside stages of your own: each stage holds its own config"
            )
        config = config or (_budget_of(stages) if stages else TrainConfig())
        self.config = replace(config, epochs=epochs) if epochs is not None else config
        if settings and not isinstance(method, str):
            raise UserError(
                f"{', '.join(settings)}: settings belong to a method by name; terms and stages hold their own"
            )
        _check_names(self.method, settings)
        self.settings = {name: _plain(self.name, name, value) for name, value in settings.items()}
        self.baseline = baseline and self.name != BASELINE

    def recipe(
        self,
        teacher: "Network | Sequence[Network] | None",
        student: Network,
        data: object,
        objects: Objects,
        *,
        seeds: int | Sequence[int],
        assistants: Assistants | None,
        settings: Settings,
        answers: StoredAnswers | None,
        balance: bool,
        accept_weak: bool,
        output: OutputChoices | None = None,
        unlabelled: object = None,
    ) -> Recipe:
        """The recipe of the call. Its networks and data are added to ``objects``, and the recipe holds their names."""
        table = _data(data, objects, unlabelled)
        assert objects.data is not None
        answers_by = NamedAnswers(output, objects.data)
        teachers = _teachers(teacher, objects, self.config, answers_by, accept_weak=accept_weak)
        learner = StudentTable(**dict(_network(student, "student", objects, answers_by)))
        between = _assistants(assistants, self, objects, answers_by, len(teachers))
        answers_by.check()
        return Recipe(
            seeds=_seeds(seeds),
            data=table,
            teacher=teachers[0] if len(teachers) == 1 else None,
            teachers=teachers if len(teachers) > 1 else (),
            student=learner,
            train=self.config,
            methods=self._tables(between, balance=balance, longer=_longer(self.config, objects)),
            settings=settings,
            answers=answers,
        )

    def _tables(
        self, assistants: tuple[AssistantTable, ...] | Literal["auto"], *, balance: bool, longer: float
    ) -> dict[str, MethodTable]:
        """The methods of the run. The student alone comes first, where it is the baseline.

        Args:
            longer: how many times as many epochs of its own samples it trains, so that both take as many steps.
        """
        table = MethodTable(
            method=self.given, settings=self.settings, train=self.config, balance=balance, assistants=assistants
        )
        budget = replace(self.config, epochs=round(longer * self.config.epochs))
        alone = {BASELINE: MethodTable(method=BASELINE, train=budget)} if self.baseline else {}
        return {**alone, self.name: table}


def _budget_of(stages: Sequence[Stage]) -> TrainConfig:
    """The budget of several stages: all of their epochs, on the last one's config."""
    return replace(stages[-1].config, epochs=sum(stage.config.epochs for stage in stages))


def _check_names(method: Method, settings: Mapping[str, object]) -> None:
    """Refuse method settings that are arguments of the call or belong to the config."""
    for name in (described.name for described in fields(TrainConfig)):
        if name in settings and name not in method.settings:
            raise UserError(f"{name} belongs to the training configuration: config=understudy.TrainConfig({name}=...)")
    if "seed" in settings and "seed" not in method.settings:
        raise UserError(f"a call has seeds: seeds=[{settings['seed']}]")
    method.check_names(settings)


def _plain(method: str, name: str, value: object) -> object:
    """A setting as plain data, as a recipe would hold it."""

    def plain(thing: object) -> object:
        if isinstance(thing, (Pair, Tap)):
            return str(thing)
        if callable(listed := getattr(thing, "tolist", None)):  # numbers of NumPy, small tensors
            return listed()
        raise TypeError(type(thing).__name__)

    try:
        return json.loads(json.dumps(value, default=plain))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"method {method!r}: {name} = {value!r}: a setting is a plain value, not a {type(value).__name__}; "
            "for anything else pass terms, as in method=CE() + KD()"
        ) from error


def settings_of(settings: Settings | Literal["auto"] | None, out: str | Path | None, workers: int | None) -> Settings:
    """The given settings, those with which the run began, or those that follow from the hardware."""
    if settings is not None and settings != "auto":
        return settings
    begun = RunFolder(Path(out)).settings() if out is not None else None
    return begun or Settings.by_rule(threads=hardware.threads_each(workers or 1))


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int) and seeds < 1:
        raise UserError(f"seeds={seeds}: give a number of seeds above 0, or the seeds themselves, as in seeds=[0]")
    listed = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not listed or len(set(listed)) != len(listed) or min(listed) < 0:
        raise UserError(f"seeds={seeds!r}: give each seed once, a whole number from 0 on")
    return listed


def _data(data: object, objects: Objects, unlabelled: object) -> DataTable:
    """Add the data to the objects under a name."""
    given = objects.data = datasets.as_data(data)
    if given.unlabelled:
        raise UserError("the data have samples without labels already: give these as unlabelled= beside the others")
    parts = [part for part in (given.train, given.validation) if part is not None]
    source = given.train.source
    samples = of_samples(source) if isinstance(source, InMemory) else ""  # others may take long to read
    digest = brief([*(of_values(part.ids) for part in parts), of_values(source.targets), samples])
    more = _unlabelled(unlabelled, given, objects) if unlabelled is not None else None
    validation = len(given.validation) if given.validation else 0
    return DataTable(name=f"{OBJECT}{digest}", validation=validation, unlabelled=more)


def _longer(config: TrainConfig, objects: Objects) -> float:
    """How many times as many steps an epoch takes with the samples without labels."""
    assert objects.data is not None
    if objects.unlabelled is None:
        return 1.0
    labelled = len(objects.data.train)
    whole = labelled + len(objects.unlabelled)
    return (whole // min(config.batch, whole)) / (labelled // min(config.batch, labelled))


def _unlabelled(inputs: object, data: datasets.Data, objects: Objects) -> str:
    """Add samples without labels to the objects under a name."""
    source = objects.unlabelled = source_of(inputs, data, datasets.Access())
    return f"{OBJECT}{of_samples(source)[:12] if isinstance(source, InMemory) else 'unlabelled'}"


def _network(network: Network, called: str, objects: Objects, answers_by: NamedAnswers) -> NetworkTable:
    if isinstance(network, str):
        return NetworkTable(network=network, output=answers_by.table_key(called))
    given = GivenNetwork.of(called, network)
    answers_by.apply(given)
    return NetworkTable(network=objects.add(given), settings=given.facts())


def _teachers(
    teacher: Network | Sequence[Network] | None,
    objects: Objects,
    config: TrainConfig,
    answers_by: NamedAnswers,
    *,
    accept_weak: bool,
) -> tuple[TeacherTable, ...]:
    """The teachers in the form of a recipe: one, several, or none. A name alone is a network that is trained first."""
    if isinstance(teacher, Sequence) and not isinstance(teacher, str):
        listed = list(teacher)
    else:
        listed = [] if teacher is None else [teacher]
    tables = []
    for number, network in enumerate(listed, start=1):
        called = "teacher" if len(listed) == 1 else f"teacher{number}"
        if isinstance(network, str) and not (Path(network) / product.DESCRIPTION).is_file():
            own = _network(network, called, objects, answers_by)
            tables.append(TeacherTable(**dict(own), train=config, one_for_all=True, accept_weak=accept_weak))
            continue
        if isinstance(network, str):
            network = product.load(network)
        given = GivenNetwork.of(called, network, taught=True)
        answers_by.apply(given)
        name, weights = objects.add(given), f"{OBJECT}{of_network(given.given())}"
        tables.append(TeacherTable(network=name, settings=given.facts(), weights=weights, accept_weak=accept_weak))
    return tuple(tables)


def _assistants(
    assistants: Assistants | None, call: Call, objects: Objects, answers_by: NamedAnswers, teachers: int
) -> tuple[AssistantTable, ...] | Literal["auto"]:
    """The assistants in the form of a recipe; ``teachers`` is the number of teachers."""
    if assistants is None and call.method.needs_assistants:
        assistants = "auto"
    if not assistants:
        return ()
    if not call.method.reads_teacher or isinstance(call.given, Method):
        raise UserError("assistants learn by a method with a teacher, by its name, as in method='takd'")
    if not teachers:
        raise UserError("assistants learn from a teacher, and there is none")
    if isinstance(assistants, str):
        if assistants != "auto":
            raise UserError(f"assistants={assistants!r}: give a list of networks, or 'auto'")
        if teachers > 1:
            raise UserError("choosing an assistant needs a single teacher: name the assistants")
        if objects.data is not None and objects.data.validation is None:
            raise UserError("choosing an assistant needs a validation part: name the assistants, or give one")
        return "auto"
    tables = [
        _network(network, f"assistant{place}", objects, answers_by) for place, network in enumerate(assistants, start=1)
    ]
    return tuple(AssistantTable(**dict(table)) for table in tables)
