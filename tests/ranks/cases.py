"""What runs on each of the two processes."""

import os
import queue
import re
import signal
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import understudy
from tests.methods.test_methods import ATTENTION, OF_UNLABELLED
from tests.terms import table
from understudy import Augmentation, Objective, StoredAnswers, auto, methods
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Data, from_tensors
from understudy.errors import UserError
from understudy.objective.term import Expression, Facts
from understudy.plans.engines.messages import Event, Order, Outcome
from understudy.plans.engines.worker import serve
from understudy.plans.group import Group
from understudy.plans.group_worker import follow, lead
from understudy.plans.stages import method_stages as stages_of
from understudy.plans.training import Builders, Measurement
from understudy.ranks import ranks, whole_tensor
from understudy.tasks import Classification
from understudy.terms import AT, CAN, CE, CRD, CWTM, KD, SP, CRDBatch, Hint, LogitsL1, PseudoLabels, RKDDistance
from understudy.training.callbacks import Callback
from understudy.training.evaluate import Measured
from understudy.training.filling import Filled, fill
from understudy.training.loop import Training

CLASSES, BATCH = 5, 16
CONFIG = TrainConfig(epochs=10, batch=16)
NEEDED = {  # what cannot be proposed from two networks
    "terms": {"terms": "CE() + KD(2)"},
    "stages": {"stages": [{"terms": "KD()", "epochs": 4}, {"name": "end", "terms": "CE()", "epochs": 6, "lr": 0.5}]},
}
CHECKED = sorted({*methods.fitting(Classification(("a", "b"))), *NEEDED} - OF_UNLABELLED)
PAIR = "block2 -> block1"


class Net(nn.Module):
    """Blocks, a root with layers of its own, batch norm on demand."""

    def __init__(self, width: int, norm: bool = False):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.block1 = self.block(width, norm)
        self.block2 = self.block(width, norm)
        self.fc = nn.Linear(width, CLASSES)

    @staticmethod
    def block(width: int, norm: bool) -> nn.Module:
        between = nn.BatchNorm2d(width) if norm else nn.Tanh()
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), between, nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        maps = self.block2(self.block1(self.stem(x)))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


def networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    return Net(8).eval().requires_grad_(False), Net(6)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(BATCH, 3, 6, 6, generator=generator)
    return images, torch.arange(BATCH) % CLASSES, torch.arange(BATCH)


def own(value: Tensor, rank: int) -> Tensor:
    share = len(value) // dist.get_world_size()
    return value[rank * share : (rank + 1) * share]


TERMS: dict[str, Expression] = {
    "kd": CE() + 0.9 * KD(temperature=4),
    "hint": CE() + 3.0 * Hint(PAIR),
    "cut": 1.0 * Hint(PAIR),
    "cut without regressor": 100.0 * AT(["block1 -> block1"]),
    "hint with batch norm": CE() + 3.0 * Hint(PAIR, regressor="crd"),
    "can": CE() + CAN(dropout=0.3),
    "can and logits": CE() + LogitsL1() + CAN(),
    "crd": CE() + CRD("fc:input -> fc:input", width=8, negatives=12),
    "crd-batch": CE() + CRDBatch("fc:input -> fc:input", width=8),
    "sp": CE() + 100.0 * SP("block2 -> block2"),
    "rkd": CE() + 2.0 * RKDDistance("fc:input -> fc:input"),
    "auto": CE() + auto() * KD(),
    "without labels": CE() + KD() + CWTM() + PseudoLabels(),
}


def objective(name: str, student: nn.Module, teacher: nn.Module) -> Objective:
    facts, unlabelled = Facts(BATCH, torch.arange(BATCH) % CLASSES), name == "without labels"
    return Objective(
        TERMS[name], student=student, teacher=teacher, example=batch()[0][:2], facts=facts, unlabelled=unlabelled
    )


def refusal(rank: int, name: str, wrapping: str) -> str:
    """What is said about an objective in a wrapper; "" where it trains."""
    teacher, student = networks()
    images, labels, ids = (own(value, rank) for value in batch())
    try:
        made: Any = WRAPPINGS[wrapping](name, student, teacher)
        made(images, labels, ids=ids)
    except UserError as error:
        return str(error)
    except UserWarning as warning:
        return f"warning: {warning}"
    return ""


def _mesh() -> Any:
    return init_device_mesh("cpu", (dist.get_world_size(),))


def _shard(network: nn.Module) -> nn.Module:
    for part in (network.block1, network.block2):
        fully_shard(part, mesh=_mesh())
    return fully_shard(network, mesh=_mesh())


class Holder(nn.Module):
    """A module of the user's around an objective, as a LightningModule is."""

    def __init__(self, made: Objective, student: nn.Module | None = None):
        super().__init__()
        self.made, self.student = made, student

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.made(*args, **kwargs).loss


def _late(name: str, student: nn.Module, teacher: nn.Module) -> Objective:
    made = objective(name, student, teacher)
    made.wrapper_beside = DistributedDataParallel(student)
    return made


WRAPPINGS = {
    "nothing": lambda name, student, teacher: objective(name, student, teacher),
    "DDP": lambda name, student, teacher: objective(name, DistributedDataParallel(student), teacher),
    "DDP unused": lambda name, student, teacher: objective(
        name, DistributedDataParallel(student, find_unused_parameters=True), teacher
    ),
    "DDP later": _late,
    "DDP(objective)": lambda name, student, teacher: DistributedDataParallel(objective(name, student, teacher)),
    "DDP(holder)": lambda name, student, teacher: DistributedDataParallel(Holder(objective(name, student, teacher))),
    "DDP(holder with the student)": lambda name, student, teacher: DistributedDataParallel(
        Holder(objective(name, student, teacher), student)
    ),
    "FSDP2": lambda name, student, teacher: objective(name, _shard(student), teacher),
    "FSDP2(objective)": lambda name, student, teacher: fully_shard(objective(name, student, teacher), mesh=_mesh()),
    "step of a wrapped student": lambda name, student, teacher: objective(
        name, DistributedDataParallel(student), teacher
    ).as_module(),
    "FSDP2(step)": lambda name, student, teacher: _wrapped("FSDP2(step)", objective(name, student, teacher)),
    "bare step": lambda name, student, teacher: objective(name, student, teacher).as_module(),
}


def trained(rank: int, name: str, how: str, steps: int = 3) -> dict[str, Tensor]:
    """The weights after some steps: of one process with the whole batch, or of two with halves."""
    teacher, student = networks()
    alone = how == "alone"
    torch.manual_seed(5 if alone else 5 + rank)  # what ranks own begins different, as with the usual seeds
    if how == "FSDP2":
        made = objective(name, _shard(student), teacher)
        call: Any = made
    else:
        made = objective(name, student, teacher)
        call = made if alone else _wrapped(how, made)
    learning = [*student.parameters(), *made.owned.parameters()]
    optimizer = torch.optim.SGD(learning, lr=0.05, momentum=0.9)
    adversaries = _adversaries(made) if alone and made.has_adversaries else None
    first: dict[str, Tensor] = {}
    for step in range(steps):
        values = [value.roll(step, 0) for value in batch()]
        if made.unlabelled:
            values[1] = values[1].where(values[1] > 1, -1)
        images, labels, ids = values if alone else [own(value, rank) for value in values]
        torch.manual_seed(step)  # as the training seeds each step, so that draws for the whole batch are the same
        if alone:
            torch.manual_seed(int(torch.randint(2**62, (1,))))  # as a step has it for the whole batch
        reading = made.read(images, labels, ids=ids) if alone else None
        if adversaries is not None:
            assert reading is not None
            loss = made.adversary_loss(reading)
            adversaries.zero_grad()
            loss.backward()
            adversaries.step()
        outcome = call(images, labels, ids=ids) if reading is None else made.judge(reading)
        optimizer.zero_grad()
        outcome.loss.backward()
        first = first or _whole({f"gradient {n}": p.grad for n, p in student.named_parameters() if p.grad is not None})
        optimizer.step()
        if reading is not None:
            made.learn(reading)
    if not alone and how.endswith("(step)"):
        (call.module if how == "DDP(step)" else call).learn()
    kept = (*made.owned.state_dict().items(), *made.adversaries.state_dict().items())
    return first | _whole(dict(student.named_parameters()) | {f"kept {name}": value for name, value in kept})


def _adversaries(made: Objective) -> torch.optim.Optimizer:
    return torch.optim.SGD(made.adversaries.parameters(), lr=0.05)


def _wrapped(how: str, made: Objective) -> nn.Module:
    step = made.as_module(_adversaries(made) if made.has_adversaries else None)
    if how == "DDP(step)":
        return DistributedDataParallel(step, find_unused_parameters=made.cut)
    for part in (step.student.block1, step.student.block2):
        fully_shard(part, mesh=_mesh())
    return fully_shard(step, mesh=_mesh())


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    full = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()}
    return {name: value.detach().clone() for name, value in full.items()}


def parameters_after_tracing(rank: int) -> tuple[int, int]:
    """How many of a sharded student's parameters an optimizer gets as shards, made after the objective."""
    teacher, student = networks()
    made = objective("kd", _shard(student), teacher)
    parameters = list(made.student.parameters())
    return sum(isinstance(parameter, DTensor) for parameter in parameters), len(parameters)


def group(rank: int) -> tuple[int, int]:
    found = ranks()
    assert found is not None
    return found.rank, found.world


class Interrupting(Callback):
    """Ctrl-C for the first process alone, after so many steps."""

    def __init__(self, after: int):
        self.after = after

    def step(self, done: int, loss: float | None) -> None:
        if done == self.after:
            os.kill(os.getpid(), signal.SIGINT)


def measured_together(rank: int, out: str) -> int:
    """Train, and count what this rank measured for the first one."""
    counted, taken = list[int](), Measurement.taken

    def counting(measurement: Measurement, builders: Builders) -> Measured:
        counted.append(len(measurement.networks))
        return taken(measurement, builders)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Measurement, "taken", counting)
        distilled(rank, out)
    return sum(counted)


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(90, 3, 6, 6, generator=generator), torch.arange(90) % CLASSES


def plain_student() -> nn.Module:
    torch.manual_seed(1)
    return Net(6, norm=True)


def distilled(
    rank: int, out: str | None, method: str = "kd", after: int = 0, **options: Any
) -> dict[str, Tensor] | str:
    """The weights of a student, or what is said where there are none."""
    teacher, _ = networks()
    config = understudy.TrainConfig(epochs=2, batch=16, optimizer=understudy.optimizers.SGD(lr=0.05))
    student = plain_student()
    stages: Any = [Stage("contrast", TERMS[method], config)] if method in TERMS else method
    try:
        understudy.distill(
            teacher,
            student,
            from_tensors(samples(), validation=20),
            method=stages,
            config=None if method in TERMS else config,
            settings=Settings(device="cpu", **options),
            out=out,
            accept_weak=True,
            check=False,
            callback=Interrupting(after) if after else None,
        )
    except (UserError, KeyboardInterrupt) as error:
        return str(error)
    return {name: value.clone() for name, value in student.state_dict().items()}


def method_data() -> Data:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(80, 1, 8, 8, generator=generator)
    return from_tensors((pictures, torch.arange(80) % table.CLASSES), validation=16)


def viewed(rank: int) -> list[tuple[Tensor, Tensor]]:
    """The samples of the batches of two epochs, and their views: this rank's share of them."""
    config = TrainConfig(epochs=2, batch=16, augmentation=Augmentation(shift=2, flip=True, cutout=3, mixup=0.4))
    stage = Stage("one", TERMS["kd"], config)
    teacher, student = table.networks(alike=False)
    training = Training(student, [teacher], [stage], method_data(), settings=Settings(device="cpu"))
    with training.surroundings():
        training.open(stage)
        batches = [batch for epoch in range(2) for batch in training.stage_state.batches(epoch)]
    assert all(isinstance(batch.inputs, Tensor) for batch in batches)
    return [(batch.ids, batch.inputs.clone()) for batch in batches]  # type: ignore[union-attr]


def first_gradients(rank: int) -> dict[str, Tensor]:
    """The gradients of the first step of every stage of every method: student, owned modules and adversaries."""
    found: dict[str, Tensor] = {}
    for name in CHECKED:
        for number in range(len(method_stages(name))):
            found[f"{name} {number}"] = first_gradient(name, number)
    return found


def method_stages(name: str) -> list[Stage]:
    teacher, student = table.networks(alike=False, attention=name in ATTENTION)
    return stages_of(name, CONFIG, NEEDED.get(name, {}), student, teacher, method_data())


def first_gradient(name: str, number: int, **settings: Any) -> Tensor:
    teacher, student = table.networks(alike=False, attention=name in ATTENTION)
    for module in (*teacher.modules(), *student.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # whose draws are each process's own
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    data = method_data()
    stage = stages_of(name, CONFIG, NEEDED.get(name, {}), student, teacher, data)[number]
    training = Training(student, [teacher], [stage], data, settings=Settings(device="cpu", **settings))
    with training.surroundings():
        training.open(stage)
        batch = next(iter(training.batches(stage)))
        training._step(stage, batch, 0.0, shares=False)
        objective = training.stage_state.objective
        networks = (training.student, objective.owned, objective.adversaries)
        parameters = [parameter for network in networks for parameter in network.parameters()]
        gradients = [whole_tensor(p.grad).flatten() for p in parameters if p.grad is not None]
    return torch.cat(gradients).clone()


def distilled_with(rank: int, out: str, after: int, options: dict[str, Any]) -> dict[str, Tensor] | str:
    return distilled(rank, out, "kd", after, **options)


class Notes(Callback):
    def __init__(self) -> None:
        self.texts = list[str]()

    def note(self, text: str) -> None:
        self.texts.append(text)


def own_statistics(rank: int) -> tuple[list[str], dict[str, Tensor]]:
    """The notes of a training whose student has statistics that are no batch norm's, and its buffers in the end."""
    student, notes = plain_student(), Notes()
    student.block1[1] = nn.InstanceNorm2d(6, track_running_stats=True)
    stage = Stage("one", TERMS["kd"], TrainConfig(epochs=2, batch=16))
    settings = Settings(device="cpu", threads=1)
    data = from_tensors(samples(), validation=20)
    Training(student, [networks()[0]], [stage], data, settings=settings, callback=notes).run()
    return notes.texts, dict(student.named_buffers())


def other_begins(rank: int) -> str:
    """What is said where each rank draws its student's weights by itself."""
    _, student = networks(seed=rank)
    try:
        Training(student, [], [], from_tensors(samples(), validation=20), settings=Settings(device="cpu"))
    except UserError as error:
        return str(error)
    return ""


class Experts(nn.Module):
    """Two blocks, of which one runs; not the same one on all ranks after so many steps."""

    def __init__(self, rank: int, after: int):
        super().__init__()
        self.blocks = nn.ModuleList([Net.block(6, False), Net.block(6, False)])
        self.rank, self.left = rank, after

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        maps: Tensor = self.blocks[self.rank if self.training and self.left < 0 else 0](x)
        return maps


def uneven(rank: int, after: int) -> str:
    """What is said where the ranks train different parts of the student."""
    _, student = networks()
    torch.manual_seed(0)
    student.block1 = Experts(rank, after)
    stage = Stage("one", TERMS["kd"], TrainConfig(epochs=1, batch=16))
    data = from_tensors(samples(), validation=20)
    settings = Settings(device="cpu", threads=1)
    try:
        Training(student, [networks()[0]], [stage], data, settings=settings).run()
    except UserError as error:
        return str(error)
    return ""


def refused_batch(rank: int) -> str:
    teacher, student = networks()
    images, labels, _ = batch()
    try:
        understudy.distill(
            teacher,
            student,
            (images, labels),
            config=TrainConfig(epochs=1, batch=7),
            settings=Settings(device="cpu"),
            check=False,
        )
    except UserError as error:
        return str(error)
    return ""


def unequal(rank: int) -> str:
    """What is said where one rank has a sample less."""
    teacher, student = networks()
    model = DistributedDataParallel(objective("kd", student, teacher).as_module())
    images, labels, _ = (own(value, rank)[rank:] for value in batch())
    try:
        model(images, labels)
    except UserError as error:
        return str(error)
    return ""


def page(rank: int, text: str, which: int) -> None:
    """The page's first script, with the second's wrapper where that is asked for; the group is there already."""
    first, second = re.findall(r"```python no-run\n(.*?)```", text[text.index("## Several processes") :], re.DOTALL)[:2]
    made, trained = first.split("model = DistributedDataParallel(objective.as_module())\n")
    script = first if which == 0 else made + second + trained.split("\n", 1)[1]
    lines = [line for line in script.splitlines() if not re.match(r"dist\.(init|destroy)_process_group", line)]
    exec("\n".join(lines), {})


def answers_training(stored: StoredAnswers) -> Training:
    """FitNets on augmented views, whose batches have no equal share for four ranks."""
    generator = torch.Generator().manual_seed(7)
    samples = torch.randint(0, 256, (50, 3, 8, 8), generator=generator, dtype=torch.uint8), torch.arange(50) % CLASSES
    teacher, student = networks()
    config = TrainConfig(epochs=4, batch=10, augmentation=Augmentation(shift=1))
    data, settings = from_tensors(samples, validation=12), Settings(device="cpu", threads=1)
    stages = stages_of("fitnets", config, {"pair": PAIR, "hint_epochs": 2}, student, teacher, data)
    return Training(student, [teacher], stages, data, settings=settings, stored=stored)


def filled(rank: int, folder: str) -> list[Filled]:
    return fill(answers_training(StoredAnswers(views=2, taps="exact", folder=folder)))


def served(rank: int, orders: list[str], stop: bool = False) -> list[Outcome]:
    """What a worker of these processes answers to orders, of which the first one is stopped after an epoch."""
    group = Group.started()
    assert group is not None
    if rank:
        follow(group)
        return []
    waiting, outcomes = queue.Queue[Order | None](), list[Outcome]()
    left = [Order.of_line(line) for line in orders]

    def send(message: Event | Outcome) -> None:
        if isinstance(message, Outcome):
            outcomes.append(message)
            waiting.put(left.pop(0) if left else None)
        elif stop and message.event == "epoch_ends":
            waiting.put(Order(stop=int(signal.SIGTERM)))

    waiting.put(left.pop(0))
    serve(iter(waiting.get, None), send, train=partial(lead, group))
    group.tell(None)
    return outcomes
