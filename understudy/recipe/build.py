"""Who takes part: data and networks, made from the tables of a recipe or of a plan's node."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

import understudy
from understudy import data as datasets
from understudy import methods, randomness
from understudy.data import Data
from understudy.data.content import content
from understudy.data.dataset import Progress
from understudy.data.parts import Part, fewer
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.models import NetworkSpec, Normalized, Whitened, Whitening, load_weights
from understudy.models import student as product
from understudy.objective import evaluating
from understudy.proposals import PROPOSALS
from understudy.recipe.schema import DataTable, NetworkTable, TeacherTable
from understudy.stage import Stage

PACKAGE = Path(understudy.__file__).parent
SPLIT_SEED = 0  # all seeds share one validation part, so that they are measured alike


@dataclass
class Cast:
    """Data, and how each network is made for a seed."""

    data: Data  # what a teacher is trained on, and everybody is measured on
    found: Data  # the same before any whitening
    whitening: Whitening | None
    trusted: Collection[str]

    @classmethod
    def of(cls, table: DataTable, trusted: Collection[str] = (), progress: Progress | None = None) -> "Cast":
        found = named_data(table, trusted, progress)
        if not table.whiten:
            return cls(found, found, None, trusted)
        whitening = Whitening.fit(_images(found.train))
        return cls(_whitened(found, whitening), found, whitening, trusted)

    @cached_property
    def content(self) -> str:
        """A hash of every sample and label from which training and validation part are taken."""
        return content(self.found.train.source)

    def seen(self, samples: int | None) -> Data:
        """The data as somebody sees them who is given only so many training samples."""
        return fewer(self.data, samples) if samples else self.data

    def spec(self, table: NetworkTable) -> NetworkSpec:
        return NetworkSpec(table.network, dict(table.settings))

    def network(self, table: NetworkTable, seed: int, role: str) -> nn.Module:
        """A network with the fresh weights of this seed and role, the same for every method."""
        channels, size = self.data.shape[0], self.data.shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derived_seed(seed, "weights", role))
            network = self.spec(table).build(len(self.data.classes), channels, size, self.trusted)
        front = self.normalisation(table)
        return Normalized(network, *front) if front else network

    def normalisation(self, table: NetworkTable) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and std of each channel, where images are normalised for this network."""
        mean, std = table.mean or self.data.mean, table.std or self.data.std
        return None if self.whitening is not None or mean is None or std is None else (mean, std)

    def teacher(self, table: TeacherTable, seed: int = 0) -> nn.Module:
        """The teacher: with its weights, or fresh where it is yet to be trained."""
        if table.weights is None:
            return self.network(table, seed, "teacher")
        return self.given(table, table.weights, table.prefix)

    def given(self, table: NetworkTable, weights: str, prefix: str | None) -> nn.Module:
        """A network with its weights out of a file."""
        network = self.network(table, 0, "teacher")
        load_weights(network, weights_file(weights), prefix=prefix)
        return network

    def trained(self, table: NetworkTable, folder: Path) -> nn.Module:
        """A network as a training here left it in its folder."""
        network = self.network(table, 0, "student")
        product.prepare(network, folder)
        load_weights(self.product(network), folder / product.WEIGHTS)
        return network

    def product(self, network: nn.Module) -> nn.Module:
        """The network as it leaves: with the whitening that it was trained behind."""
        return Whitened(network, self.whitening) if self.whitening is not None else network


def named_data(table: DataTable, trusted: Collection[str] = (), progress: Progress | None = None) -> Data:
    """The data of a recipe, as they are before any whitening."""
    return datasets.load(
        table.name,
        table.root,
        validation=table.validation,
        seed=SPLIT_SEED,
        workers=table.workers,
        progress=progress,
        trusted=trusted,
        **table.settings,
    )


def stages(
    method: str, course: Any, settings: Mapping[str, Any], student: nn.Module, teacher: nn.Module | None, data: Data
) -> list[Stage]:
    """A method's stages; taps that nobody named are proposed from both networks.

    A student that leaves with a part of its teacher is given that part here, in place.
    """
    chosen, given = methods.find(method), dict(settings)
    chosen.check_names(given)
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
    cpu = torch.device("cpu")
    homes = [next((p.device for p in network.parameters()), cpu) for network in (teacher, student)]
    example = data.example(2, homes[1]).to(cpu)  # where the data are, or all of them would move
    try:
        return PROPOSALS[setting](teacher.cpu(), student.cpu(), example)
    finally:
        for network, home in zip((teacher, student), homes, strict=True):
            network.to(home)


def weights_file(weights: str) -> Path:
    """The file; ``package:...`` are weights that ship with understudy."""
    within = weights.removeprefix("package:")
    return PACKAGE / within if within != weights else Path(weights).expanduser()


def _images(part: Part) -> torch.Tensor:
    if not isinstance(part.source, InMemory):
        raise UserError("data.whiten needs data that fit in memory")
    if not isinstance(part.source.samples, torch.Tensor):
        raise UserError("data.whiten needs data whose inputs are images")
    images = part.source.samples[part.ids]
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _whitened(data: Data, whitening: Whitening) -> Data:
    """The same data, whitened before any view is drawn of them, as pylearn2 did it."""

    def whole(part: Part) -> InMemory:
        images = _images(Part(part.source, torch.arange(len(part.source))))
        with torch.no_grad():
            prepared = torch.cat([whitening(batch) for batch in images.split(1000)])
        return InMemory(prepared, part.source.targets)

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
