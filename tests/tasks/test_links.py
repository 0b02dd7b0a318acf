"""Link prediction: queries, filtered ranks, negatives, families of embeddings, readers."""

import gzip
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tasks.test_tasks import COUNT, TRIPLES, made
from understudy import Objective, Settings, nested
from understudy.answers import StoredAnswers
from understudy.answers.source import needs_live_teacher
from understudy.data import Augmentation, from_triples, load
from understudy.errors import UserError
from understudy.models import PyKEEN, build
from understudy.tasks import Links
from understudy.tasks.links import as_bits, filtered_ranks, from_bits, queries
from understudy.terms import KD, N3, Labels
from understudy.training import evaluate
from understudy.training.evaluate import figures

CPU, PLAIN = torch.device("cpu"), Augmentation()
FAMILIES = {
    "complex": {"width": 4}, "distmult": {"width": 4}, "transe": {"width": 4}, "rotate": {"width": 4},
    "transe, l1": {"width": 4, "norm": "l1"}, "rotate, l1": {"width": 4, "norm": "l1"},
}  # fmt: skip


def network(name, data=None, **settings):
    data = data or made("links")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {**FAMILIES[name], **settings}
        return build(name.partition(",")[0], classes=data.task.outputs, channels=data.shape[0], **given)


def epoch(data, number=0, seed=0, batch=8):
    return data.train.epoch(number, seed=seed, batch=batch, augmentation=PLAIN, task=data.task, device=CPU)


def test_queries_hold_every_triple_in_both_directions():
    triples = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [4, 1, 0], [0, 0, 1]])
    inputs, targets = queries(triples, 2, most=2)
    rows = zip(*(values.tolist() for values in (inputs["head"], inputs["relation"], targets["tails"])), strict=True)
    found = {(head, relation, tail) for head, relation, tails in rows for tail in tails if tail >= 0}
    forth = {tuple(triple) for triple in triples.tolist()}
    assert found == forth | {(tail, relation + 2, head) for head, relation, tail in forth}
    assert targets["tails"].shape[1] == 2
    assert targets["known"].shape[1] == 0


def test_bits_are_read_as_they_were_written():
    tails = [[0, 7, 8], [], [16], list(range(17))]
    pairs = torch.tensor([(sample, tail) for sample, row in enumerate(tails) for tail in row])
    bits = as_bits(pairs[:, 0], pairs[:, 1], len(tails), 17)
    assert from_bits(bits, 17).tolist() == [[place in row for place in range(17)] for row in tails]


def test_ranks_leave_out_what_is_known_and_share_ties():
    scores = torch.tensor([[3.0, 2.0, 2.0, 2.0, 1.0]]).repeat(4, 1)
    known = torch.tensor([[False, True, False, False, False]] * 4)
    known[1, 0] = True
    scores[2, 1] = float("nan")
    scores[3, 0] = float("nan")
    ranks = filtered_ranks(scores, known, torch.tensor([[1], [1], [1], [1]]))
    assert ranks.tolist() == [3.0, 2.0, 5.0, 2.0]  # a score that is no number is last, and no rival


def test_ranks_are_those_of_pykeens_evaluator():
    """The numbers were made by scripts/pykeen_ranks.py, which names the version of PyKEEN."""
    for known in json.loads((Path(__file__).parent / "pykeen_ranks.json").read_text())["sets"]:
        entities, relations = known["entities"], known["relations"]
        train, test = (torch.tensor(known[part]) for part in ("train", "test"))
        inputs, targets = queries(test, relations, most=4, known=torch.cat((train, test)), entities=entities)
        generator = torch.Generator().manual_seed(known["seed"])
        embeddings = torch.randint(-2, 3, (entities + 2 * relations, known["width"]), generator=generator).float()
        scores = (embeddings[inputs["head"]] * embeddings[entities + inputs["relation"]]) @ embeddings[:entities].T
        meter = Links(tuple(map(str, range(entities))), tuple(map(str, range(relations)))).meter()
        for some in torch.arange(len(scores)).split(50):
            meter.update({"logits": scores[some]}, nested.chosen(targets, some))
        found = meter.compute()
        assert {name: found[name] for name in known["figures"]} == pytest.approx(known["figures"], abs=1e-6)


def test_parts_are_filtered_by_what_may_be_known_of_them():
    data = made("links")
    task = data.task
    numbers = {name: number for number, name in enumerate(task.entities)}
    for part, known in ((data.validation, TRIPLES[:44]), (data.test, TRIPLES)):
        targets, inputs = part.targets, part.source.samples
        bits = from_bits(targets["known"], task.outputs)
        for place, (head, relation) in enumerate(
            zip(inputs["head"].tolist(), inputs["relation"].tolist(), strict=True)
        ):
            name, back = task.relations[relation % 2], relation >= 2
            tails = {numbers[h if back else t] for h, r, t in known if r == name and numbers[t if back else h] == head}
            assert set(bits[place].nonzero().flatten().tolist()) == tails


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_scores_candidates_as_it_scores_all(name):
    student = network(name).eval()
    head, relation, candidates = (
        torch.tensor([0, 3, 5]),
        torch.tensor([0, 3, 1]),
        torch.tensor([[2, 7, 11]]).expand(3, -1),
    )
    whole = student(head, relation)
    assert whole.shape == (3, COUNT)
    torch.testing.assert_close(student(head, relation, candidates), whole[:, candidates[0]])


def test_families_are_what_their_formulas_say():
    a, b, c = torch.tensor([0]), torch.tensor([1]), 2
    for name, score in {
        "distmult": lambda h, r, t: (h * r * t).sum(),
        "transe": lambda h, r, t: -(h + r - t).norm(),
        "transe, l1": lambda h, r, t: -(h + r - t).abs().sum(),
        "complex": lambda h, r, t: (pair(h) * pair(r) * pair(t).conj()).sum().real,
        "rotate": lambda h, r, t: -(pair(h) * torch.polar(torch.ones_like(r), r) - pair(t)).norm(),
        "rotate, l1": lambda h, r, t: -(pair(h) * torch.polar(torch.ones_like(r), r) - pair(t)).abs().sum(),
    }.items():
        one = network(name).eval()
        h, r, t = one.entities.weight[0], one.relations.weight[1], one.entities.weight[c]
        torch.testing.assert_close(one(a, b)[0, c], score(h, r, t))


def pair(values):
    return torch.complex(*values.chunk(2))


def test_scores_are_ranked_in_float32_under_autocast():
    student, inputs = network("complex"), {"head": torch.tensor([0]), "relation": torch.tensor([1])}
    with torch.autocast("cpu", torch.bfloat16):
        assert student.train()(**inputs).dtype == torch.bfloat16
        assert student.eval()(**inputs).dtype == torch.float32


def test_negatives_are_a_function_of_seed_and_step():
    task = replace(made("links").task, negatives=5)
    data = replace(made("links"), task=task)
    first, again, other, later = (list(epoch(data, n, seed)) for n, seed in ((0, 0), (0, 0), (0, 1), (1, 0)))
    drawn = [[batch.inputs["candidates"][0].tolist() for batch in batches] for batches in (first, again, other, later)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]
    assert len({tuple(candidates) for candidates in drawn[0]}) > 1
    resumed = data.train.epoch(0, seed=0, batch=8, augmentation=PLAIN, task=task, device=CPU, start=2)
    assert next(resumed).inputs["candidates"][0].tolist() == drawn[0][2]


def test_with_every_entity_among_the_negatives_the_loss_is_that_of_all():
    whole = made("links")
    student = network("complex", whole)
    some = replace(whole, task=replace(whole.task, negatives=2000))
    for all_of_them, drawn in zip(epoch(whole), epoch(some), strict=True):
        assert len(drawn.inputs["candidates"][0]) == COUNT
        losses = [
            Objective(Labels() + KD(), student=student, teacher=network("distmult", whole), task=whole.task)(
                batch.inputs, batch.targets
            ).loss
            for batch in (all_of_them, drawn)
        ]
        torch.testing.assert_close(*losses)


def test_teacher_and_student_are_asked_about_the_same_candidates():
    data = made("links")
    data = replace(data, task=replace(data.task, negatives=3))
    seen = []
    teacher, student = network("complex", data), network("distmult", data)
    for one in (teacher, student):
        one.register_forward_pre_hook(lambda _m, _a, given: seen.append(given["candidates"]), with_kwargs=True)
    objective = Objective(KD(), student=student, teacher=teacher, task=data.task)
    objective(*(lambda batch: (batch.inputs, batch.targets))(next(iter(epoch(data)))))
    assert torch.equal(*seen)
    reason = needs_live_teacher(StoredAnswers(), objective, data, Settings(device="cpu"))
    assert "candidates" in reason


@pytest.mark.parametrize("equal", ["queries", "triples"])
@pytest.mark.parametrize("negatives", [None, 5])
@pytest.mark.parametrize("name", ["complex", "distmult"])
def test_n3_is_that_of_its_authors(name, negatives, equal):
    """kbc/regularizers.py: the sum of |f|^3 over head, relation and tail, by the number of triples."""
    data = made("links")
    data = replace(data, task=replace(data.task, negatives=negatives, equal=equal))
    student, plain = network(name, data), next(iter(epoch(made("links"))))
    batch = next(iter(epoch(data)))
    assert torch.equal(batch.ids, plain.ids)
    moduli = pair_of_rows if name == "complex" else torch.abs
    wanted = []
    for head, relation, tails in zip(
        plain.inputs["head"], plain.inputs["relation"], plain.targets["tails"], strict=True
    ):
        rows = [(student.entities.weight[head], student.relations.weight[relation], student.entities.weight[tail])
                for tail in tails if tail >= 0]  # fmt: skip
        wanted.append(torch.stack([sum(moduli(factor).pow(3).sum() for factor in row) for row in rows]))
    outcome = Objective(N3(), student=student, task=data.task)(batch.inputs, batch.targets)
    over = torch.sum if equal == "triples" else torch.mean
    torch.testing.assert_close(outcome.loss, torch.stack([over(of_query) for of_query in wanted]).mean())
    outcome.loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in student.parameters())


def pair_of_rows(factor):
    return pair(factor).abs()


def test_where_triples_count_alike_a_query_counts_with_the_sum_of_its_tails():
    mean, total = (Links(("a", "b", "c"), ("r",), equal=equal) for equal in ("queries", "triples"))
    answer, targets = (
        {"logits": torch.randn(2, 3)},
        {"tails": torch.tensor([[0, 2], [1, -1]]), "known": torch.zeros(2, 0)},
    )
    for smoothing in (0.0, 0.1):
        means, sums = (task.loss(answer, targets, smoothing=smoothing) for task in (mean, total))
        torch.testing.assert_close(sums, means * torch.tensor([2.0, 1.0]))
    single = {"tails": torch.tensor([[0], [2], [1]]), "known": torch.zeros(3, 0)}
    triples = mean.loss({"logits": answer["logits"][[0, 0, 1]]}, single)
    torch.testing.assert_close(total.loss(answer, targets).sum(), triples.sum())


def test_n3_is_of_products_of_embeddings():
    data = made("links")
    batch = next(iter(epoch(data)))
    with pytest.raises(UserError, match="N3 is of the networks complex and distmult, and the student is a TransE"):
        Objective(N3(), student=network("transe", data), task=data.task)(batch.inputs, batch.targets)
    with pytest.raises(UserError, match="it is of triples"):
        Objective(N3(), student=torch.nn.Linear(4, 3))


class OfPyKEEN(torch.nn.Module):
    """DistMult with the interface of PyKEEN's models, whose entities and relations are numbered as it likes.

    With inverse triples it has twice as many relations, relation r under the number 2 r and its inverse under 2 r + 1
    (``DefaultRelationInverter`` of PyKEEN 1.11), and heads are scored as tails of the inverse (``predict_h``).
    """

    def __init__(self, entities, relations, width=4, inverse=False):
        super().__init__()
        self.use_inverse_triples = inverse
        self.entities = torch.nn.Embedding(entities, width)
        self.relations = torch.nn.Embedding(relations * (1 + inverse), width)

    def score_t(self, hr_batch):
        return self.entities(hr_batch[:, 0]) * self.relations(hr_batch[:, 1]) @ self.entities.weight.T

    def score_h(self, rt_batch):
        return self.score_t(rt_batch.flip(1)) + 1


@pytest.mark.parametrize(("negatives", "inverse"), [(None, False), (5, False), (None, True)])
def test_a_model_of_pykeen_teaches_by_the_names_of_its_factory(negatives, inverse):
    data = made("links")
    data = replace(data, task=replace(data.task, negatives=negatives))
    model = OfPyKEEN(COUNT, 2, inverse=inverse)
    ids = {name: number for number, name in enumerate(reversed(data.task.entities))}
    kinds = {name: number for number, name in enumerate(reversed(data.task.relations))}
    teacher = PyKEEN(model, data.task, ids, kinds)
    batch = next(iter(epoch(data)))
    scores = teacher(**batch.inputs)
    asked = batch.inputs["candidates"][0].tolist() if negatives else range(COUNT)
    for row, head, relation in zip(
        scores, batch.inputs["head"].tolist(), batch.inputs["relation"].tolist(), strict=True
    ):
        number, asks_heads = kinds[data.task.relations[relation % 2]], int(relation >= 2)
        kind = torch.tensor(2 * number + asks_heads if inverse else number)
        known = torch.tensor(ids[data.task.entities[head]])
        tails = torch.tensor([ids[data.task.entities[number]] for number in asked])
        expected = (model.entities(known) * model.relations(kind) * model.entities(tails)).sum(1)
        torch.testing.assert_close(row, expected if inverse else expected + asks_heads)  # what score_h adds
    student = network("complex", data)
    Objective(KD(), student=student, teacher=teacher, task=data.task)(batch.inputs, batch.targets).loss.backward()
    assert student.entities.weight.grad.any()
    assert model.entities.weight.grad is None
    with pytest.raises(UserError, match=r"knows no entity .e0.* missing"):
        PyKEEN(model, data.task, {"e00": 0}, kinds)
    with pytest.raises(UserError, match="a Linear is no model of PyKEEN: it has no score_t"):
        PyKEEN(torch.nn.Linear(1, 1), data.task, ids, kinds)


def test_an_answer_kept_of_many_queries_is_small():
    data = made("links")
    answer = {"logits": torch.randn(len(data.train), COUNT)}
    kept = data.task.kept(answer, data.train.targets)
    assert {name: tuple(value.shape) for name, value in kept.items()} == {"first": (len(data.train), 10)}
    assert data.task.compared(kept, kept, data.train.targets) == {"agreement": 1.0, "overlap": 1.0}


def test_an_evaluation_holds_the_answers_of_one_batch(monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 4)
    data, student, answers, alive = made("links"), network("complex"), [], []

    def seen(module, given, answer):
        answers.append(weakref.ref(answer))
        alive.append(sum(one() is not None for one in answers))

    student.register_forward_hook(seen)
    figures(student, data.train, data.task, Settings(device="cpu"))
    assert len(alive) > 8
    assert max(alive) <= 2  # that of the batch before, until its place is taken


def test_learning_links_makes_ranks_better():
    data, student = made("links"), network("complex", width=16)
    before = figures(student, data.train, data.task, Settings(device="cpu"))
    objective = Objective(Labels(), student=student, task=data.task)
    optimizer = torch.optim.Adagrad(student.parameters(), 0.3)
    for number in range(20):
        for batch in epoch(data, number):
            optimizer.zero_grad()
            objective(batch.inputs, batch.targets).loss.backward()
            optimizer.step()
    after = figures(student, data.train, data.task, Settings(device="cpu"))
    assert after["mrr"] > max(0.5, before["mrr"])


def write(folder, *, suffix=".txt", parts=("train", "valid", "test")):
    folder.mkdir(parents=True, exist_ok=True)
    for name, triples in zip(("train", "valid", "test"), (TRIPLES[4:44], TRIPLES[:4], TRIPLES[44:]), strict=True):
        if name in parts:
            text = "".join("\t".join(triple) + "\n" for triple in triples).encode()
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    return folder


@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".txt.gz"])
def test_a_folder_of_triples_is_read(tmp_path, suffix):
    data, expected = load("triples", write(tmp_path, suffix=suffix)), made("links")
    assert data.task == expected.task
    for part in ("train", "validation", "test"):
        found, wanted = getattr(data, part), getattr(expected, part)
        assert nested.same(found.source.samples, wanted.source.samples)
        assert nested.same(found.targets, wanted.targets)
    assert load("triples", tmp_path, validation=0).validation is None
    assert load("triples", tmp_path, negatives=7).task.negatives == 7


def test_names_of_triples_are_without_marks_of_their_file(tmp_path):
    (tmp_path / "train.txt").write_bytes("\ufeffanna\tknows\tbe\u2028rt\r\nanna\tlikes\tcarl\r\n".encode())
    assert load("triples", tmp_path).task.entities == ("anna", "be\u2028rt", "carl")


def test_parts_of_triples_may_be_missing(tmp_path):
    data = load("triples", write(tmp_path, parts=("train",)))
    assert data.validation is None
    assert data.test is None


def test_fb15k237_is_read_in_its_upstream_form(tmp_path):
    write(tmp_path / "FB15k-237")
    data = load("fb15k237", tmp_path, verify=False)
    assert data.task == made("links").task
    with pytest.raises(UserError, match=r"train has 40 triples, and FB15k-237 has 272,115"):
        load("fb15k237", tmp_path)
    with pytest.raises(UserError, match=r"microsoft\.com"):
        load("fb15k237", tmp_path / "FB15k-237" / "elsewhere")


def test_what_is_wrong_with_triples_is_told(tmp_path):
    write(tmp_path)
    (tmp_path / "valid.txt").write_text("e1\tnext\n")
    with pytest.raises(UserError, match=r"valid\.txt, line 1: a head, a relation and a tail"):
        load("triples", tmp_path)
    with pytest.raises(UserError, match=r"holds no train\.txt"):
        load("triples", tmp_path / "nowhere")
    task = made("links").task
    for tails, words in (([[30]], "sample 0 has tails"), ([[-1]], "sample 0 has no tail")):
        with pytest.raises(UserError, match=words):
            task.check({"tails": torch.tensor(tails), "known": torch.zeros(1, 0, dtype=torch.uint8)})
    with pytest.raises(UserError, match=r"no entity 'e99'"):
        task.encode(["e99 next"])
    with pytest.raises(UserError, match="HEAD RELATION"):
        task.encode(["e1"])
    with pytest.raises(UserError, match="no triples"):
        from_triples([])
