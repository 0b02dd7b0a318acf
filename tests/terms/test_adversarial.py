"""What is special about terms with a adversary, a memory, networks that learn along, or adversarial samples."""

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.terms.table import CLASSES, Net, networks
from understudy import Objective, TrainConfig, UserError, bounds
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.methods import find
from understudy.models.families.wrn import wrn
from understudy.models.preprocessing import Normalized
from understudy.taps.defaults import PROPOSALS
from understudy.terms import BSS, CAN, CE, CRD, DML, CRDBatch, Facts, LogitsL1, Rocket, Term
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

CONFIG = TrainConfig(epochs=3, batch=16, optimizer=SGD(lr=0.05))
STEPS = 12  # of 72 samples
STAGES = {
    "can": find("can")(CONFIG),
    "wgan": find("can")(CONFIG, game="wgan"),
    "crd": find("crd")(CONFIG, embedding="conv -> head:input", width=8, negatives=20),
    "dml": find("dml")(CONFIG),
    "rocket": find("rocket")(CONFIG, shared=""),
    "bss": find("bss")(CONFIG, steps=2),
}


class Toy:
    """Clouds of points, a teacher that knows them, and a thinner student."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.centres = torch.randn(CLASSES, 8) * 1.2
        self.teacher, self.student = self.network(64), self.network(8)
        optimizer = torch.optim.SGD(self.teacher.parameters(), lr=0.1, momentum=0.9)
        for _ in range(100):
            inputs, labels = self.draw()
            optimizer.zero_grad()
            nn.functional.cross_entropy(self.teacher(inputs), labels).backward()
            optimizer.step()
        self.teacher.eval().zero_grad()

    def network(self, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, CLASSES)
        )

    def draw(self, size: int = 64) -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (size,))
        return self.centres[labels] + torch.randn(size, 8), labels

    def play(self, *, student_plays: bool, adversary_lr_scale: float = 0.01, steps: int = 250) -> dict[str, Tensor]:
        """The game as the trainer plays it; of each step, what the discriminator made of it."""
        term = CAN(adversary_lr_scale=adversary_lr_scale)
        objective = Objective(
            CE() + LogitsL1() + term, student=self.student, teacher=self.teacher, example=self.draw(2)[0]
        )
        settings = {"momentum": 0.9, "weight_decay": 1e-4}
        optimizer = torch.optim.SGD(self.student.parameters(), lr=0.1, **settings)
        adversaries = torch.optim.SGD(objective.adversaries.parameters(), lr=0.1 * term.adversary_lr_scale, **settings)
        seen: dict[str, list[Tensor]] = {name: [] for name in ("loss", "gradient", "told", "label", "student", "total")}
        for _ in range(steps):
            inputs, labels = self.draw()
            reading = objective.read(inputs, labels)
            loss = objective.adversary_loss(reading)
            adversaries.zero_grad()
            loss.backward()
            adversaries.step()
            outcome = objective.judge(reading)
            if student_plays:
                optimizer.zero_grad()
                outcome.loss.backward()
                optimizer.step()
            with torch.no_grad():
                real, fake = (objective.adversaries["can"](a.logits) for a in (reading.teacher, reading.student))
            gradient = sum(p.grad.square().sum() for p in objective.adversaries.parameters()).sqrt()
            told = torch.cat([real[:, -2] > real[:, -1], fake[:, -1] > fake[:, -2]])
            right = torch.cat([answer[:, :CLASSES].argmax(1) == labels for answer in (real, fake)])
            student = reading.student.logits.argmax(1) == labels
            found = (loss, gradient, told.float().mean(), right.float().mean(), student.float().mean(), outcome.loss)
            for name, value in zip(seen, found, strict=True):
                seen[name].append(value.detach())
        return {name: torch.stack(values) for name, values in seen.items()}


FIRST, LAST = slice(20), slice(-50, None)


@pytest.mark.parametrize("adversary_lr_scale", [0.01, 1.0])
def test_the_game_is_stable_the_discriminator_neither_wins_nor_dies(adversary_lr_scale):
    seen = Toy().play(student_plays=True, adversary_lr_scale=adversary_lr_scale)
    assert all(torch.isfinite(values).all() for values in seen.values())
    assert 0.4 < seen["told"][LAST].mean() < 0.65  # it does not win, even with a hundred times the paper's rate
    assert seen["loss"][LAST].mean() < 0.85 * seen["loss"][FIRST].mean()  # it learns
    assert seen["label"][LAST].mean() > seen["label"][FIRST].mean() + 0.1
    assert seen["gradient"][LAST].min() > 0.05  # and it goes on learning
    assert seen["student"][LAST].mean() > 0.65
    assert seen["total"][LAST].mean() < 0.85 * seen["total"][FIRST].mean()


def test_the_discriminator_wins_against_a_student_that_stands_still():
    assert Toy().play(student_plays=False, adversary_lr_scale=1.0)["told"][LAST].mean() > 0.8


class Stopper(Callback):
    """Asks to stop after so many steps."""

    def __init__(self, stop: StopRequest, after: int):
        self.stop, self.left = stop, after

    def step(self, done: int, loss: float | None) -> None:
        self.left -= 1
        if self.left == 0:
            self.stop.signal_number = 15


def trained(small, stages: list[Stage], folder=None, after: int = 0) -> Training | None:
    teacher, student = small.networks()
    stop = StopRequest()
    training = Training(
        student,
        [teacher],
        stages,
        small.data(),
        seed=3,
        settings=Settings(device="cpu"),
        checkpoint_folder=folder,
        callback=Stopper(stop, after),
        stop=stop,
    )
    try:
        training.run()
    except Stopped:
        return None
    return training


@pytest.mark.parametrize("name", STAGES)
def test_a_training_that_is_stopped_in_the_middle_resumes_bit_for_bit(small, tmp_path, name):
    unbroken = trained(small, STAGES[name])
    assert trained(small, STAGES[name], tmp_path, after=STEPS // 2 - 1) is None  # within an epoch
    assert trained(small, STAGES[name], tmp_path, after=3) is None
    resumed = trained(small, STAGES[name], tmp_path)
    for one, other in (
        (unbroken.student.state_dict(), resumed.student.state_dict()),
        (unbroken.stage_state.objective.state_dict(), resumed.stage_state.objective.state_dict()),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    if name in ("can", "wgan"):
        momenta = [training.stage_state.adversaries.state_dict()["state"] for training in (unbroken, resumed)]
        assert momenta[0].keys() == momenta[1].keys()
        for key, values in momenta[0].items():
            assert torch.equal(values["momentum_buffer"], momenta[1][key]["momentum_buffer"])


def batch(size: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 8, 8, generator=generator), torch.arange(size) % CLASSES, torch.arange(size)


def bound(term: Term, *, facts: Facts | None = None, alike: bool = False) -> Objective:
    teacher, student = networks(alike=alike)
    return Objective(term, student=student, teacher=teacher, example=batch(2)[0], facts=facts)


def test_discriminators_are_the_papers():
    can_net = bound(CAN()).adversaries["can"]
    assert [type(m).__name__ for m in can_net] == ["BatchNorm1d", "Block", "Block", "Linear"]
    assert (can_net[-1].in_features, can_net[-1].out_features) == (CLASSES, CLASSES + 2)
    assert [m.p for m in can_net.modules() if isinstance(m, nn.Dropout)] == [0.3, 0.3]
    critic = bound(CAN("wgan")).adversaries["can"]
    assert not any(isinstance(m, nn.BatchNorm1d) for m in critic.modules())
    a = torch.randn(5, CLASSES)
    block = can_net[1].eval()
    torch.testing.assert_close(block(a), (a + block.step[1](block.step[0](a))).relu())


@pytest.mark.parametrize("game", ["can", "joint", "gan", "lsgan", "wgan"])
def test_rivals_learn_in_low_precision_and_leave_the_student_alone(game):
    objective = bound(CAN(game))
    inputs, labels, _ = batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.adversary_loss(objective.read(inputs, labels))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in objective.adversaries.parameters())
    assert all(p.grad is None for p in objective.student.parameters())


def test_the_predicted_discriminator_is_one_step_further():
    objective = bound(CAN(prediction=True))
    predicted, (inputs, labels, _) = objective.adversaries["can"], batch()
    reading = objective.read(inputs, labels)
    before = [p.detach().clone() for p in predicted.parameters()]
    objective.adversary_loss(reading).backward()
    torch.optim.SGD(predicted.parameters(), lr=0.1).step()
    further = copy.deepcopy(predicted.network)
    with torch.no_grad():
        for parameter, old in zip(further.parameters(), before, strict=True):
            parameter.copy_(2 * parameter - old)
    logits = reading.student.logits.detach()
    predicted.eval(), further.eval()
    torch.testing.assert_close(predicted.ahead(logits), further(logits))
    assert not torch.allclose(predicted.ahead(logits), predicted(logits))


def test_a_condition_changes_what_the_discriminator_answers():
    for condition in ("label", "teacher", "image"):
        objective = bound(CAN("gan", condition=condition))
        inputs, labels, _ = batch()
        reading = objective.read(inputs, labels)
        (one,) = CAN(condition=condition)._condition(reading)
        network = objective.adversaries["can"].eval()
        logits = reading.student.logits.detach()
        assert not torch.allclose(network(logits, one), network(logits, one.roll(1, 0)))


def test_can_asks_for_dropout_in_the_student():
    def remarks(dropout):
        networks = {"student": wrn(10, 1, dropout=dropout), "teacher": wrn(10, 1)}
        return Objective(CAN(), **networks, example=torch.rand(2, 3, 8, 8)).remarks

    assert not remarks(0.3)
    ((remark,),) = remarks(0.0).values()
    assert "no dropout" in remark


def test_a_part_of_weight_0_is_left_out():
    method = find("can")
    assert [
        str(method(CONFIG, weight=w, l1_weight=v)[0].objective) for w, v in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.0))
    ] == [
        "CE() + LogitsL1()",
        "CE() + CAN()",
        "CE()",
    ]


def test_a_memory_is_written_after_the_step_and_only_there():
    labels = torch.arange(40) % CLASSES
    objective = bound(CRD("fc:input -> fc:input", width=8, negatives=16, momentum=0.0), facts=Facts(40, labels))
    memory = objective.owned["crd"]
    inputs, own, ids = batch()
    before = {name: value.clone() for name, value in memory.named_buffers()}
    reading = objective.read(inputs, own, ids=ids)
    objective.judge(reading)
    assert all(torch.equal(value, before[name]) for name, value in memory.named_buffers())
    objective.learn(reading)
    with torch.no_grad():
        student, teacher = memory(reading.student["fc:input"], reading.teacher["fc:input"])
    torch.testing.assert_close(memory.seen_by_student[ids], student, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(memory.seen_by_teacher[ids], teacher, rtol=1e-3, atol=1e-6)
    assert torch.equal(memory.seen_by_teacher[12:], before["seen_by_teacher"][12:])
    log_z = memory.log_z.clone()
    assert log_z.isfinite().all()
    objective.learn(objective.read(inputs, own, ids=ids))
    assert torch.equal(memory.log_z, log_z)  # estimated once
    resumed = bound(CRD("fc:input -> fc:input", width=8, negatives=16), facts=Facts(40, labels))
    assert not resumed.owned["crd"].estimated
    resumed.load_state_dict(objective.state_dict())
    assert resumed.owned["crd"].estimated


def test_negatives_are_of_other_classes_and_all_of_them_are_drawn():
    labels = torch.tensor([0, 1, 2, 0, 0, 2, 1, 0])
    memory = bound(CRD("fc:input -> fc:input", width=4), facts=Facts(8, labels)).owned["crd"]
    ids = torch.tensor([0, 1, 5])
    drawn = memory.others(ids, 500)
    for row, number in zip(drawn, ids, strict=True):
        assert set(row.tolist()) == set((labels != labels[number]).nonzero().flatten().tolist())


def test_only_samples_of_the_training_part_are_remembered_and_drawn():
    labels, trained = torch.tensor([0, 1, 2, 0, 0, 2, 1, 0]), torch.tensor([7, 2, 6, 0])
    term = CRD("fc:input -> fc:input", width=4)
    objective = bound(term, facts=Facts(8, labels, trained))
    memory = objective.owned["crd"]
    assert len(memory.seen_by_student) == len(memory.seen_by_teacher) == 4
    drawn = memory.others(memory.rows[torch.tensor([0])], 500).flatten()
    assert set(trained[drawn].tolist()) == {2, 6}
    assert set(memory.anyone(memory.rows[torch.tensor([0])], 500).flatten().tolist()) == {0, 1, 2, 3}
    inputs, own, _ = batch(4)
    held_back = objective(inputs, own, ids=torch.tensor([1, 3, 4, 5])).loss
    assert torch.isfinite(held_back)


def test_a_memory_takes_half_the_space_in_a_checkpoint_and_comes_back_as_it_was():
    labels = torch.arange(40) % CLASSES
    objective = bound(CRD("fc:input -> fc:input", width=8), facts=Facts(40, labels))
    inputs, own, ids = batch()
    objective.learn(objective.read(inputs, own, ids=ids))
    memory, state = objective.owned["crd"], objective.state_dict()
    assert state["owned.crd.seen_by_student"].dtype == torch.float16
    again = bound(CRD("fc:input -> fc:input", width=8), facts=Facts(40, labels))
    again.load_state_dict(state)
    assert torch.equal(again.owned["crd"].seen_by_student, memory.seen_by_student)
    assert torch.equal(again.owned["crd"].seen_by_teacher, memory.seen_by_teacher)


def test_crd_says_what_it_lacks():
    with pytest.raises(UserError, match="pass facts="):
        bound(CRD("fc:input -> fc:input"))
    inputs, labels, _ = batch()
    objective = bound(CRD("fc:input -> fc:input"), facts=Facts(40, torch.arange(40) % CLASSES))
    with pytest.raises(UserError, match="pass ids="):
        objective(inputs, labels)
    with pytest.raises(UserError, match="one class"):
        bound(CRD("fc:input -> fc:input"), facts=Facts(3, torch.zeros(3, dtype=torch.long)))
    assert torch.isfinite(bound(CRDBatch("fc:input -> fc:input"))(inputs, labels).loss)


@pytest.mark.parametrize("term", [DML(), DML(architecture="teacher"), Rocket()])
def test_peers_begin_afresh_learn_the_labels_and_are_moved_by_nothing_else(term):
    objective = bound(term)
    origin = objective.student if term == DML() else networks(alike=False)[0]
    (peer,) = objective.owned["dml"] if isinstance(term, DML) else [objective.owned["rocket"]]
    assert {k: v.shape for k, v in peer.state_dict().items()} == {k: v.shape for k, v in origin.state_dict().items()}
    assert not torch.equal(peer.fc.weight, origin.fc.weight)
    inputs, labels, _ = batch()
    reading = objective.read(inputs, labels)
    name = next(iter(objective.parts))
    term.loss(reading, objective.owned[name]).sum().backward()
    assert all(p.grad is None for p in peer.parameters())
    objective.zero_grad()
    term.own_loss(reading, objective.owned[name]).sum().backward()
    assert all(p.grad is not None for p in peer.parameters())


def test_without_the_gradient_block_the_hint_moves_the_booster_too():
    objective = bound(Rocket(block=False))
    inputs, labels, _ = batch()
    Rocket(block=False).loss(objective.read(inputs, labels), objective.owned["rocket"]).sum().backward()
    assert all(p.grad is not None for p in objective.owned["rocket"].parameters())


def test_lower_layers_that_are_shared_learn_by_the_booster_and_are_the_students():
    teacher, student = networks(alike=True)
    inputs, labels, _ = batch()
    objective = Objective(
        Rocket(shared="maps1 -> maps1", hint=0.0), student=student, teacher=teacher, example=inputs[:2]
    )
    booster = objective.owned["rocket"]
    outcome = objective(inputs, labels)
    outcome.loss.backward()
    moved = {
        name.split(".")[0]
        for network in (student, booster)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert moved == {"maps1", "maps2", "fc"}
    assert all(p.grad is None for p in booster.maps1.parameters())
    assert all(not p.grad.any() for p in student.maps2.parameters())  # the hint's, which weighs 0


def test_what_has_two_shapes_cannot_be_shared():
    teacher, student = networks(alike=False)
    with pytest.raises(UserError, match="Rocket: what two networks share has one shape"):
        Objective(Rocket(shared="maps1 -> maps1"), student=student, teacher=teacher, example=batch()[0][:2])
    assert PROPOSALS["shared"](teacher, student, batch()[0][:2]) == ""
    assert PROPOSALS["shared"](teacher, teacher, batch()[0][:2]) == "maps1 -> maps1"


def test_a_peer_sees_the_images_as_the_student_does():
    inputs, labels, _ = batch()
    values = []
    for shift in (0.0, 5.0):
        torch.manual_seed(0)
        student = Normalized(Net(3).eval(), [shift], [1.0])
        torch.manual_seed(1)
        objective = Objective(DML(), student=student, example=inputs[:2]).eval()
        values.append(objective(inputs + shift, labels).loss)
    torch.testing.assert_close(*values)


def test_pushed_samples_reach_the_boundary_and_stay_among_the_inputs():
    toy = Toy()
    inputs, labels = toy.draw()
    objective = Objective(BSS(base="teacher", steps=50, step=0.05), student=toy.student, teacher=toy.teacher)
    reading = objective.read(inputs, labels)
    term = objective.parts["bss"].term
    chosen = term._chosen(reading)
    logits = reading.teacher.logits[chosen]
    assert (logits.argmax(1) == labels[chosen]).all()
    second = logits.topk(2).indices[:, 1]
    pushed = term._pushed(toy.teacher, inputs[chosen], labels[chosen], second)
    gap = [a.gather(1, labels[chosen, None]) - a.gather(1, second[:, None]) for a in (logits, toy.teacher(pushed))]
    assert gap[0].mean() > 1
    assert gap[1].abs().mean() < 0.05
    assert inputs.min() <= pushed.min() <= pushed.max() <= inputs.max()
    assert all(p.grad is None for p in toy.teacher.parameters())


def test_samples_are_weighed_so_that_the_batch_mean_is_that_of_the_pushed_ones():
    toy = Toy()
    inputs, labels = toy.draw()
    objective = Objective(BSS(base="teacher", most=10), student=toy.student, teacher=toy.teacher)
    values = objective.parts["bss"].term.loss(objective.read(inputs, labels), None)
    pushed = values[values > 0] * 10 / 64
    assert len(pushed) == 10
    torch.testing.assert_close(values.mean(), pushed.mean())
    nobody = (toy.teacher(inputs).argmax(1) + 1) % CLASSES
    assert objective(inputs, nobody).loss == 0


def test_settings_that_cannot_be_are_refused():
    for make in (
        lambda: CAN("game"),
        lambda: CAN(condition="labels"),
        lambda: CAN(layers=0),
        lambda: LogitsL1("max"),
        lambda: CRD("fc:input"),
        lambda: CRDBatch("a -> b", temperature=0),
        lambda: DML(peers=0),
        lambda: BSS(most=1),
        lambda: find("bss")(CONFIG, share=0.0),
    ):
        with pytest.raises(UserError):
            bounds.check(make(), "term")


def test_objectives_are_those_of_the_papers():
    (stage,) = find("can")(CONFIG)
    assert stage.objective == CE() + 1.0 * LogitsL1("sum") + 1.0 * CAN()
    assert CAN().adversary_lr_scale == 0.01
    assert find("crd")(CONFIG, embedding="a -> b")[0].objective == CE() + 0.8 * CRD("a -> b")
    assert find("crd-batch")(CONFIG, embedding="a -> b")[0].objective == CE() + 0.8 * CRDBatch("a -> b")
    assert find("dml")(CONFIG)[0].objective == CE() + 1.0 * DML()
    assert find("rocket")(CONFIG, shared="")[0].objective == CE() + Rocket()
    ends = [[part.weight(epoch) for epoch in (0, 2.25, 3)] for part in find("bss")(CONFIG)[0].objective.parts[1:]]
    assert ends == [[4.0, pytest.approx(1.75), 1.0], [2.0, 0.0, 0.0]]
