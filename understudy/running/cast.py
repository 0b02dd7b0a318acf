"""Who takes part: data and networks, made from a recipe."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import understudy
from understudy import data as datasets
from understudy import methods, randomness
from understudy.data import Data
from understudy.data.parts import Part, fewer
from understudy.data.reading import Progress
from understudy.data.sources import InMemory
from understudy.errors import UserError, did_you_mean
from understudy.models import NetworkSpec, Normalized, Whitened, Whitening, load_weights
from understudy.objective import evaluating
from understudy.plan import Stage
from understudy.proposals import PROPOSALS
from understudy.recipe import Recipe
from understudy.recipe.schema import DataTable, MethodTable, NetworkTable

PACKAGE = Path(understudy.__file__).parent
SPLIT_SEED = 0  # all seeds share one validation part, so that they are measured alike


@dataclass
class Cast:
    """Data, and how each network is made for a seed."""

    recipe: Recipe
    data: Data  # what a teacher is trained on, and everybody is measured on
    student_data: Data  # what the students see of it
    whitening: Whitening | None
    trusted: Collection[str]

    @classmethod
    def of(cls, recipe: Recipe, trusted: Collection[str] = (), progress: Progress | None = None) -> "Cast":
        table = recipe.data
        data = named_data(table, progress)
        whitening = None
        if table.whiten:
            whitening = Whitening.fit(_images(data.train))
            data = _whitened(data, whitening)
        student_data = fewer(data, table.student_samples) if table.student_samples else data
        return cls(recipe, data, student_data, whitening, trusted)

    def spec(self, table: NetworkTable) -> NetworkSpec:
        return NetworkSpec(table.network, dict(table.settings))

    def student(self, seed: int) -> nn.Module:
        """A student with the fresh weights of this seed, the same for every method."""
        return self._network(self.recipe.student, seed, "student")

    def teacher(self, seed: int) -> nn.Module:
        """The teacher: with its weights, or fresh where it is yet to be trained."""
        table = self.recipe.teacher
        assert table is not None
        network = self._network(table, seed, "teacher")
        if table.weights is not None:
            load_weights(network, _found(table.weights), prefix=table.prefix)
        return network

    def product(self, network: nn.Module) -> nn.Module:
        """The network as it leaves: with the whitening that it was trained behind."""
        return Whitened(network, self.whitening) if self.whitening is not None else network

    def stages(self, table: MethodTable, student: nn.Module, teacher: nn.Module | None) -> list[Stage]:
        found = stages(table.method, table.train, table.settings, student, teacher, self.data)
        return [stage.balanced() for stage in found] if table.balance else found

    def _network(self, table: NetworkTable, seed: int, role: str) -> nn.Module:
        channels, size = self.data.shape[0], self.data.shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derived_seed(seed, "weights", role))
            network = self.spec(table).build(len(self.data.classes), channels, size, self.trusted)
        mean, std = table.mean or self.data.mean, table.std or self.data.std
        if self.whitening is not None or mean is None or std is None:
            return network
        return Normalized(network, mean, std)


def named_data(table: DataTable, progress: Progress | None = None) -> Data:
    """The data of a recipe, as they are before any whitening."""
    own: dict[str, Any] = {"size": table.size, "channels": table.channels} if table.name == "folder" else {}
    if table.extra:
        own["extra"] = True
    return datasets.load(
        table.name,
        table.root,
        validation=table.validation,
        seed=SPLIT_SEED,
        workers=table.workers,
        progress=progress,
        **own,
    )


def stages(
    method: str, course: Any, settings: Mapping[str, Any], student: nn.Module, teacher: nn.Module | None, data: Data
) -> list[Stage]:
    """A method's stages; taps that nobody named are proposed from both networks.

    A student that leaves with a part of its teacher is given that part here, in place.
    """
    chosen, given = methods.find(method), dict(settings)
    unknown = sorted(set(given) - set(chosen.settings))
    if unknown:
        raise UserError(f"method {method!r} has no setting {unknown[0]!r}{did_you_mean(unknown[0], chosen.settings)}")
    if chosen.reads_teacher and teacher is None and chosen.family != "own":
        raise UserError(f"method {method!r} learns from a teacher, and there is none")
    for name in chosen.needed:
        if given.get(name) is None:
            if name not in PROPOSALS or teacher is None:
                raise UserError(f"method {method!r} needs its setting {name!r}")
            given[name] = _proposed(name, teacher, student, data)
    if chosen.grafts is not None and teacher is not None:
        chosen.grafts(student, teacher, chosen.complete(given))
        _answers(student, method, data)
    return chosen(course, **given)


def _answers(student: nn.Module, method: str, data: Data) -> None:
    """A grafted student must still be one network from its first layer to the teacher's classifier."""
    device = next(student.parameters()).device
    try:
        with torch.no_grad(), evaluating(student):
            student(data.example(2, device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"method {method!r}: the student cannot take over the teacher's classifier ({reason}): what comes after "
            "its last map must not depend on the number of channels; name other 'maps', or build it anew with a mean "
            "over the places"
        ) from error


def _proposed(setting: str, teacher: nn.Module, student: nn.Module, data: Data) -> Any:
    """Traced on the CPU, since the two may be on different devices; each returns to its own."""
    example = data.example(2, torch.device("cpu"))
    homes = [next((p.device for p in network.parameters()), example.device) for network in (teacher, student)]
    try:
        return PROPOSALS[setting](teacher.cpu(), student.cpu(), example)
    finally:
        for network, home in zip((teacher, student), homes, strict=True):
            network.to(home)


def _found(weights: str) -> Path:
    """The file; ``package:...`` are weights that ship with understudy."""
    within = weights.removeprefix("package:")
    return PACKAGE / within if within != weights else Path(weights).expanduser()


def _images(part: Part) -> torch.Tensor:
    if not isinstance(part.source, InMemory):
        raise UserError("data.whiten needs data that fit in memory")
    images = part.source.samples[part.ids]
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _whitened(data: Data, whitening: Whitening) -> Data:
    """The same data, whitened before any view is drawn of them, as pylearn2 did it."""

    def whole(part: Part) -> InMemory:
        images = _images(Part(part.source, torch.arange(len(part.source))))
        with torch.no_grad():
            prepared = torch.cat([whitening(batch) for batch in images.split(1000)])
        return InMemory(prepared, part.source.labels)

    train = whole(data.train)
    opened = data.open_test

    def open_test() -> Part:
        assert opened is not None
        part = opened()
        return Part(whole(part), part.ids)

    return replace(
        data,
        train=Part(train, data.train.ids),
        validation=Part(train, data.validation.ids) if data.validation else None,
        open_test=open_test if opened else None,
        mean=None,
        std=None,
    )
