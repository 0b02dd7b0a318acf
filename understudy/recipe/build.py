"""Build data and networks from the tables of a recipe or of a plan's node."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

import understudy
from understudy import data as datasets
from understudy import nested, randomness
from understudy.config.settings import Settings
from understudy.data import Data
from understudy.data.answered import answered
from understudy.data.content import content, digest
from understudy.data.dataset import Access, Progress
from understudy.data.parts import Part, fewer
from understudy.data.sources import InMemory, Source
from understudy.data.unlabelled import rest_unlabelled, source_of, with_unlabelled
from understudy.errors import UserError, did_you_mean
from understudy.models import (
    LocalContrast,
    NetworkSpec,
    Normalized,
    Output,
    OwnTokens,
    Whitened,
    Whitening,
    load_weights,
    read_weights,
)
from understudy.models import student as product
from understudy.models.fingerprints import brief, of_samples, of_values
from understudy.models.library_weights import InputConfig, input_config, library_network, library_spec
from understudy.models.preprocessing import Interpolation
from understudy.models.sizes import parameters
from understudy.models.weights import Head, begin_with, load_whole, take_off
from understudy.nested import Nested
from understudy.ranks import alone
from understudy.recipe.objects import Objects, is_object
from understudy.recipe.schema import DataTable, NetworkTable, TeacherTable
from understudy.taps import inner
from understudy.tasks import Task, Values
from understudy.training.evaluate import walk_together
from understudy.trusted import call_factory

# Mean and std of each channel; size and interpolation where images are resized.
Front = tuple[Sequence[float], Sequence[float]] | tuple[Sequence[float], Sequence[float], int, Interpolation]

PACKAGE = Path(understudy.__file__).parent
ANSWERED = 64  # samples for which a teacher answers before its task is known
SPLIT_SEED = 0  # all seeds share one validation part, so that their figures are comparable


@dataclass
class Builder:
    """Builds the networks for a data set, each for its seed.

    Args:
        data: the data on which a teacher is trained and every network is measured.
        plain: the same data before any whitening.
    """

    data: Data
    plain: Data
    whitening: Whitening | LocalContrast | None
    trusted: Collection[str]
    objects: Objects = field(default_factory=Objects)
    _digests: dict[str, str] = field(default_factory=dict, repr=False)  # of libraries' weights, by table
    _heads: dict[str, Head | None] = field(default_factory=dict, repr=False)  # that were left out, by table
    _beside: dict[str, Source] = field(default_factory=dict, repr=False)  # samples without labels, by name
    _seen: dict[object, Data] = field(default_factory=dict, repr=False)  # data with such samples

    @classmethod
    def of(
        cls,
        table: DataTable,
        trusted: Collection[str] = (),
        progress: Progress | None = None,
        objects: Objects | None = None,
    ) -> "Builder":
        objects = objects or Objects()
        given = objects.data if is_object(table.name) else None
        plain = given if given is not None else named_data(table, trusted, progress)
        if given is not None or not table.whiten:
            return cls(plain, plain, None, trusted, objects).answered_by(table.answered_by or ())
        if not plain.task.labelled:
            raise UserError("data.whiten is of FitNets' own data, which have labels: leave it out")
        local = table.whiten == "local"
        whitening = LocalContrast(plain.shape) if local else Whitening.fit(_images(plain.train))
        return cls(_whitened(plain, whitening), plain, whitening, trusted, objects)

    def answered_by(self, tables: Sequence[TeacherTable]) -> "Builder":
        """The same, with these teachers' answers as the targets of data that have no labels."""
        if self.data.task.labelled or not tables:
            return self
        task, names = self.data.task, _outputs_of(tables)
        if not task.names and names:
            task = replace(task, classes=names)  # type: ignore[call-arg]  # a task with names of outputs
        if hasattr(task, "classes") and not task.classes and not all(is_object(table.network) for table in tables):
            raise UserError(
                "the data have no labels, and nothing says how many outputs the teacher has: name them in [data], as "
                'in task = { name = "unlabelled", classes = 1000 }'
            )
        teachers = Answering(replace(self, data=replace(self.data, task=task)), tables)
        return replace(self, data=answered(self.data, teachers.task(), teachers))

    @cached_property
    def content(self) -> str:
        """A hash of every sample and target from which training and validation part are taken.

        Where an object reads its samples from disk, a part of them is hashed, unless other runs may reuse results.
        """
        source = self.plain.train.source
        if self.plain is self.objects.data and not self.objects.whole and not isinstance(source, InMemory):
            return brief([of_samples(source), of_values(source.targets)])
        validation = self.plain.validation
        if validation is None or validation.source is source:
            return content(source)
        return f"{content(source)} {content(validation.source)}"

    def seen(self, table: DataTable) -> Data:
        """The data as a training sees them: fewer samples with labels, and those without labels."""
        labelled = fewer(self.data, table.student_samples) if table.student_samples else self.data
        if table.unlabelled is None:
            return labelled
        name = table.unlabelled, table.student_samples
        if name not in self._seen:  # one source for all trainings, since samples in memory are kept on the device
            more = table.unlabelled is not True
            self._seen[name] = (
                with_unlabelled(labelled, self._without_labels(table)) if more else rest_unlabelled(self.data, labelled)
            )
        return self._seen[name]

    def unlabelled_content(self, table: DataTable) -> str:
        """A hash of the samples without labels; of those of the training part, one of the samples with labels."""
        if table.unlabelled is True:
            return digest(self.seen(table.with_labels).train.ids)
        return content(self._without_labels(table))

    def _without_labels(self, table: DataTable) -> Source:
        """The samples without labels that come from elsewhere."""
        assert isinstance(table.unlabelled, str)
        if table.unlabelled not in self._beside:
            self._beside[table.unlabelled] = self._read(table.unlabelled, table)
        return self._beside[table.unlabelled]

    def _read(self, name: str, table: DataTable) -> Source:
        """The samples without labels of this name, whitened as those with labels are."""
        access = Access(workers=table.workers, memory=table.memory)
        if is_object(name):
            assert self.objects.unlabelled is not None
            source = self.objects.unlabelled
        elif ":" in name and not Path(name).exists():
            source = call_factory(name, self.trusted, "unlabelled", lambda make: source_of(make(), self.plain, access))
        else:
            source = source_of(name, self.plain, access)
        return source if self.whitening is None else _prepared(source, self.whitening)

    def spec(self, table: NetworkTable) -> NetworkSpec | None:
        """The name and settings by which a network is built; None for an object of an unknown family."""
        if is_object(table.network):
            return self.objects[table.network].spec(self.data.shape, self.data.task.outputs)
        return self.named(table)

    def named(self, table: NetworkTable) -> NetworkSpec:
        """The name and settings of a network that is no object, with those of its library's weights and its size."""
        settings = dict(table.settings)
        spec = NetworkSpec(table.network, settings)
        if table.pretrained and table.library_network == table.network:
            spec = library_spec(table.network, settings, table.pretrained)
        size = self.size(table)
        return NetworkSpec(spec.name, {**spec.settings, "size": size}) if size is not None else spec

    def called(self, table: NetworkTable) -> str:
        """The displayed name of a network: its name with its settings, or its class."""
        if is_object(table.network):
            return str(self.objects[table.network].facts().get("class", table.network))
        size, which = self.size(table), table.pretrained
        beside = [f"pretrained={which}"] if which else []
        beside += [f"size={size}"] if size is not None else []
        return ", ".join([str(NetworkSpec(table.network, dict(table.settings))), *beside])

    def parameters(self, table: NetworkTable) -> int:
        """The number of parameters of a network."""
        if is_object(table.network):
            return sum(p.numel() for p in self.objects[table.network].network(0, "student").parameters())
        return parameters(self.named(table), self.shape(table), self.data.task.outputs, self.trusted)

    def network(self, table: NetworkTable, seed: int, role: str, training: str | None = None) -> nn.Module:
        """A network as its training begins: with the weights of its table, or fresh ones of this seed and role.

        Args:
            training: the name of its training; a module passed as an object may be trained in place.
        """
        if is_object(table.network):
            return self.objects[table.network].network(seed, role, training)
        network = self.fresh(table, seed, role)
        if table.begins_trained:
            self._begin(network, table, self._weights(table))
        return network

    def fresh(self, table: NetworkTable, seed: int, role: str, outputs: int | None = None) -> nn.Module:
        """A network with fresh weights of this seed and role, the same for every method.

        Args:
            outputs: by default as many as the task has.
        """
        if is_object(table.network):
            return self.objects[table.network].network(seed, role)
        shape, spec = self.shape(table), self.named(table)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derived_seed(seed, "weights", role))
            network = spec.build(outputs or self.data.task.outputs, shape[0], shape[-1], self.trusted)
        front = self.normalisation(table)
        network = Normalized(network, *front) if front else network
        if self.data.token_tables:
            network = OwnTokens(network, table.token_table or "")
        return Output(network, table.output) if table.output is not None else network

    def task(self, table: NetworkTable) -> Task:
        """The task of a network's answers; of texts with the network's own token table."""
        name = table.token_table
        if name is None:
            return self.data.task
        if name not in self.data.token_tables:
            raise UserError(
                f"network {table.network!r}: token_table = {name!r}: the data have "
                + (f"no such table{did_you_mean(name, self.data.token_tables)}" if self.data.token_tables else "none")
                + "; name it in [data], as in token_tables = { "
                + f'{name} = {{ tokens = "tokenizer", vocabulary = "tokenizer.json" }} }}'
            )
        task = self.data.token_tables[name]
        assert isinstance(task, Task)
        return task

    def shape(self, table: NetworkTable) -> tuple[int, ...]:
        """The shape of one sample for a network; of texts tokens and positions of its token table."""
        return self.data.shape if table.token_table is None else self.task(table).sizes(self.data.shape)

    def inputs(self, table: NetworkTable) -> InputConfig | None:
        """The inputs of the library's weights with which a network begins."""
        if is_object(table.network) or not table.pretrained:
            return None
        own = input_config(table.library_network, table.pretrained)
        if table.library_network != table.network:  # a backbone takes images of any size
            own = replace(own, size=None, interpolation=None, outputs=())
        return own if table.mean and table.std else own.of_channels(self.data.shape[0])

    def size(self, table: NetworkTable) -> int | None:
        """The side to which images are resized for a network; None where they are of that size, or left as they are."""
        if is_object(table.network):
            return None
        own = self.inputs(table)
        size = table.size or (own.size if own else None)
        if size is not None and len(self.data.shape) != 3:
            raise UserError(f"network {table.network!r}: size = {size}: the samples are no images")
        return None if size is None or self.data.shape[1:] == (size, size) else size

    def normalisation(self, table: NetworkTable) -> Front | None:
        """Mean and std of each channel, where images are normalised for this network; objects get them as they are.

        Where they are resized, size and interpolation, too.
        """
        if is_object(table.network) or self.whitening is not None:
            return None
        own, size = self.inputs(table), self.size(table)
        mean = table.mean or (own.mean if own else None) or self.data.mean
        std = table.std or (own.std if own else None) or self.data.std
        if size is None:
            return None if mean is None or std is None else (mean, std)
        channels = self.data.shape[0]
        interpolation = table.interpolation or (own.interpolation if own else None) or "bilinear"
        return mean or (0.0,) * channels, std or (1.0,) * channels, size, interpolation

    def teacher(self, table: TeacherTable, seed: int = 0) -> nn.Module:
        """The teacher: with its weights, or as it begins where it is yet to be trained."""
        return self.given(table) if table.train is None else self.network(table, seed, "teacher")

    def given(self, table: NetworkTable) -> nn.Module:
        """A network with its weights, as it is, or an object.

        It has as many outputs as its weights have; without a head among these, it ends before its own.
        """
        if is_object(table.network):
            return self.objects[table.network].given()
        network, weights = self.fresh(table, 0, "teacher"), self._weights(table)
        head = self._begin(network, table, weights)
        if head is not None and head.others is not None:
            network = self.fresh(table, 0, "teacher", head.others)
            load_whole(inner(network), *weights, prefix=table.prefix)
        elif head is not None and head.unused is not None:
            raise UserError(
                f"{weights[1]} are the weights of the backbone of {self.called(table)} alone: say how the rest is "
                "trained, in a table 'train'"
            )
        elif head is not None:
            take_off(inner(network), head)
        return network

    def library_digest(self, table: NetworkTable) -> str:
        """Of the weights of a network's library."""
        name = table.model_dump_json()
        if name not in self._digests:
            self._digests[name] = of_values(self._weights(table)[0])
        return self._digests[name]

    def about(self, table: NetworkTable, *, trained: bool) -> list[str]:
        """What a network begins with, and what stands before it, as far as its table says more than its name.

        Args:
            trained: whether it is trained here.
        """
        if is_object(table.network):
            return []
        name = table.model_dump_json()
        if table.begins_trained and name not in self._heads:
            self.network(table, 0, "student")
        lines = []
        if table.begins_trained:
            own, head = self.inputs(table), self._heads[name]
            source = table.weights or (own.weights if own else "")
            left = f"; {head}, where fresh weights begin" if head and trained else ""
            lines.append(f"{'begins with' if trained else 'has'} the weights {source}{left}")
        front = self.normalisation(table)
        if front and (table.pretrained or self.size(table) is not None):
            mean, std = tuple(front[0]), tuple(front[1])
            used = InputConfig("", mean, std, front[2], front[3]) if len(front) == 4 else InputConfig("", mean, std)
            lines.append(f"its images come with {used}")
        return lines

    def _begin(self, network: nn.Module, table: NetworkTable, weights: tuple[Mapping[str, Tensor], str]) -> Head | None:
        outputs = self.named(table).settings.get("classes", self.data.task.outputs)
        assert isinstance(outputs, int)
        head = begin_with(network, *weights, outputs=outputs, prefix=table.prefix)
        self._heads[table.model_dump_json()] = head
        return head

    def _weights(self, table: NetworkTable) -> tuple[Mapping[str, Tensor], str]:
        """The weights with which a network begins, and what they are called."""
        if table.weights is not None:
            path = weights_file(table.weights)
            return read_weights(path), str(path)
        own = self.inputs(table)
        assert own is not None
        assert table.pretrained
        channels, size = self.data.shape[0], self.size(table) or self.data.shape[-1]
        settings = table.settings if table.library_network == table.network else {}
        network = library_network(table.library_network, table.pretrained, settings, channels=channels, size=size)
        return network.state_dict(), own.weights

    def trained(self, table: NetworkTable, folder: Path) -> nn.Module:
        """The network that a training of this run left in its folder."""
        network = self.fresh(table, 0, "student")
        product.prepare(network, folder)
        load_weights(self.product(network), folder / product.WEIGHTS)
        return network

    def product(self, network: nn.Module) -> nn.Module:
        """The network in its final form, with the whitening that preceded it in training."""
        return Whitened(network, self.whitening) if self.whitening is not None else network


@dataclass
class Answering:
    """The teachers whose answers are the targets of data without labels; what they answer together counts.

    Args:
        builder: builds them.
        tables: their tables, which name weights.
    """

    builder: Builder
    tables: Sequence[TeacherTable]

    @cached_property
    def networks(self) -> list[nn.Module]:
        return [self.builder.teacher(table).eval() for table in self.tables]

    def task(self) -> Task:
        """The task of the data, with what follows from the teachers' answers to some samples."""
        train, answers = self.builder.data.train, list[Values]()
        places = torch.linspace(0, len(train) - 1, min(ANSWERED, len(train)), dtype=torch.float64).round().long()
        self._walk(Part(train.source, train.ids[places]), answers.append)
        return self.builder.data.task.completed(
            {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}
        )

    def __call__(self, part: Part) -> Tensor:
        """The targets of the samples of a part."""
        targets, task = list[Nested](), self.builder.data.task
        self._walk(part, lambda answer: targets.append(nested.moved(task.as_targets(answer), torch.device("cpu"))))
        whole = nested.concatenated(targets)
        assert isinstance(whole, Tensor)
        return whole

    def _walk(self, part: Part, update: Callable[[Values], None]) -> None:
        """In float32 and by this process alone, so that the answers are the same in every training."""
        parameter = next(self.networks[0].parameters(), None)
        given = any(is_object(table.network) for table in self.tables)
        settings = Settings(device=str(parameter.device) if given and parameter is not None else "auto")
        task = self.builder.data.task
        placed = [settings.place(network) for network in self.networks]
        seen = 0

        def use(answers: Sequence[Values], _: Nested) -> None:
            nonlocal seen
            answer = task.together(answers)
            if broken := nested.not_finite(answer):
                samples = part.ids[seen + torch.tensor(broken[:5])].tolist()
                raise UserError(f"data without labels: the teacher answers with NaN or infinity (samples {samples})")
            seen += nested.count(answer)
            update(answer)

        with alone(), torch.autocast(settings.torch_device.type, enabled=False):
            walk_together(placed, part, task, settings, use)


def _outputs_of(tables: Sequence[TeacherTable]) -> tuple[str, ...]:
    """The names of the outputs: of a library's weights, or of a student that is described beside its weights."""
    for table in tables:
        if table.pretrained and table.weights is None and table.library_network == table.network:
            return input_config(table.network, table.pretrained).outputs
        if table.weights is not None and not is_object(table.network):
            folder = weights_file(table.weights).parent
            if (folder / product.DESCRIPTION).is_file():
                return product.read(folder).task.names
    return ()


def named_data(table: DataTable, trusted: Collection[str] = (), progress: Progress | None = None) -> Data:
    """The data of a recipe before any whitening."""
    return datasets.load(
        table.name,
        table.root,
        validation=table.validation,
        seed=SPLIT_SEED,
        workers=table.workers,
        memory=table.memory,
        progress=progress,
        trusted=trusted,
        task=table.task,
        **table.settings,
    )


def weights_file(weights: str) -> Path:
    """The path of the file; ``package:...`` names weights that are part of understudy."""
    within = weights.removeprefix("package:")
    return PACKAGE / within if within != weights else Path(weights).expanduser()


def _images(part: Part) -> torch.Tensor:
    if not isinstance(part.source, InMemory):
        raise UserError("data.whiten needs data that fit in memory")
    if not isinstance(part.source.samples, torch.Tensor):
        raise UserError("data.whiten needs data whose inputs are images")
    images = part.source.samples[part.ids]
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _whitened(data: Data, whitening: Whitening | LocalContrast) -> Data:
    """The same data, whitened before any augmentation, as in pylearn2."""

    train = _prepared(data.train.source, whitening)
    opened = data.open_test

    def open_test() -> Part:
        assert opened is not None
        part = opened()
        return Part(_prepared(part.source, whitening), part.ids)

    return replace(
        data,
        train=Part(train, data.train.ids),
        validation=Part(train, data.validation.ids) if data.validation else None,
        open_test=open_test if opened else None,
        mean=None,
        std=None,
    )


def _prepared(source: Source, whitening: Whitening | LocalContrast) -> InMemory:
    """All samples of a source, whitened."""
    images = _images(Part(source, torch.arange(len(source))))
    with torch.no_grad():
        prepared = torch.cat([whitening(batch) for batch in images.split(1000)])
    return InMemory(prepared, source.targets)
