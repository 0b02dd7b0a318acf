"""Masked and missing tokens of texts: what stays, in which order, how often, and what cannot be changed."""

from dataclasses import replace
from itertools import chain, groupby

import pytest
import torch

import understudy
from understudy import Objective, Settings, TrainConfig, recipe
from understudy.config.stage import Stage
from understudy.data import TokenNoise, from_tensors
from understudy.data.augmentation import Augmentation
from understudy.errors import UserError
from understudy.tasks import Tags, Text, TextScores
from understudy.tasks.tags import NO_WORD
from understudy.terms import CE, KD, as_sum
from understudy.training import preflight

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = tuple(f"word{number}" for number in range(60))
LENGTH, COUNT, SEED = 16, 400, 5
CPU = torch.device("cpu")


def task_of(pairs=False, masks=True, kind=Text):
    vocabulary = (*SPECIAL, *(("[MASK]",) if masks else ()), *WORDS)
    return kind(("bad", "good")[: 1 if kind is TextScores else 2], vocabulary, LENGTH, pairs=pairs)


def texts_of(pairs=False):
    """Texts of 1 to 10 words, none of which stands in one twice."""
    generator = torch.Generator().manual_seed(0)

    def text():
        count = int(torch.randint(1, 7 if pairs else 11, (), generator=generator))
        return " ".join(WORDS[number] for number in torch.randperm(len(WORDS), generator=generator)[:count].tolist())

    return ["\t".join(text() for _ in range(1 + pairs)) for _ in range(COUNT)]


def read(task, inputs):
    """The tokens of each text."""
    rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
    return [[task.vocabulary[number] for number, there in zip(*row, strict=True) if there] for row in rows]


def stretches(tokens):
    """The lists of words between special tokens."""
    grouped = groupby(tokens, lambda token: token in SPECIAL and token != "[UNK]")
    return [list(some) for special, some in grouped if not special]


def changed(noise, task, texts, epoch=0, ids=None):
    inputs, numbers = task.encode(texts), torch.arange(len(texts)) if ids is None else ids
    found, _ = noise.draw(inputs, torch.zeros(len(texts)), SEED, epoch, numbers, task=task)
    assert found["attention_mask"].sort(1, descending=True).values.equal(found["attention_mask"])  # no hole
    assert bool((found["input_ids"][found["attention_mask"] == 0] == 0).all())
    return found


ALL = TokenNoise(mask=0.3, drop=0.3, span=0.4, longest=3)
NOISES = [TokenNoise(mask=0.3), TokenNoise(mask=0, drop=0.5), TokenNoise(mask=0, span=0.5, longest=3), ALL]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_what_stays_stands_in_its_order_and_no_text_is_empty(noise, pairs):
    task, texts = task_of(pairs), texts_of(pairs)
    for before, after in zip(read(task, task.encode(texts)), read(task, changed(noise, task, texts)), strict=True):
        assert [token for token in after if token in SPECIAL] == [token for token in before if token in SPECIAL]
        old, new = stretches(before), stretches(after)
        assert len(old) == len(new)
        for words, left in zip(old, new, strict=True):
            known = [word for word in left if word != "[MASK]"]
            assert known
            assert known == [word for word in words if word in known]
            if not (noise.drop or noise.span):
                assert len(left) == len(words)


@pytest.mark.parametrize(("noise", "share"), [(TokenNoise(mask=0.3), 0.3), (TokenNoise(mask=0, drop=0.3), 0.3)])
def test_the_share_is_the_one_asked_for(noise, share):
    task, texts = task_of(), [" ".join(WORDS[:12])] * COUNT
    left = [word for tokens in read(task, changed(noise, task, texts)) for word in tokens if word in WORDS]
    assert 1 - len(left) / (12 * COUNT) == pytest.approx(share, abs=0.03)


def test_a_span_is_of_words_in_a_row_from_anywhere_and_of_some_texts_alone():
    noise, task, texts = TokenNoise(mask=0, span=0.5, longest=3), task_of(), [" ".join(WORDS[:12])] * COUNT
    found = [stretches(tokens)[0] for tokens in read(task, changed(noise, task, texts))]
    whole = [words for words in found if len(words) == 12]
    assert len(whole) / COUNT == pytest.approx(0.5, abs=0.1)
    spans = [words for words in found if len(words) < 12]
    assert {len(words) for words in spans} == {1, 2, 3}
    for words in spans:
        first = WORDS.index(words[0])
        assert tuple(words) == WORDS[first : first + len(words)]
    assert {WORDS.index(word) for word in chain(*spans)} == set(range(12))


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_a_view_is_a_function_of_seed_view_and_sample(noise):
    task, texts = task_of(), texts_of()
    whole = changed(noise, task, texts)
    some = torch.tensor([7, 3, 200, 31])
    few = changed(noise, task, [texts[number] for number in some.tolist()], ids=some)
    assert all(torch.equal(whole[name][some], few[name]) for name in whole)
    other = changed(noise, task, texts, epoch=1)
    assert not torch.equal(whole["input_ids"], other["input_ids"])
    each = changed(noise, task, texts, epoch=torch.tensor([0, 1]).repeat(COUNT // 2))
    assert torch.equal(each["input_ids"][::2], whole["input_ids"][::2])
    assert torch.equal(each["input_ids"][1::2], other["input_ids"][1::2])


def test_further_inputs_of_a_token_move_with_it():
    task, texts = task_of(), texts_of()
    inputs = task.encode(texts)
    inputs["places"] = torch.arange(LENGTH).expand(COUNT, -1)
    inputs["one"] = torch.arange(COUNT)
    found, _ = ALL.draw(inputs, torch.zeros(COUNT), SEED, 0, torch.arange(COUNT), task=task)
    there = found["attention_mask"].bool() & (found["input_ids"] != task.mask_id)
    assert torch.equal(inputs["input_ids"].gather(1, found["places"])[there], found["input_ids"][there])
    assert torch.equal(found["one"], inputs["one"])


@pytest.mark.parametrize("noise", NOISES, ids=str)
def test_a_tag_stays_with_its_word(noise):
    """Words of an even number are of one tag, those of an odd one of the other, and pieces have none."""
    pieces = tuple(f"##{number}" for number in range(60))
    task = Tags(("O", "B-PER"), (*SPECIAL, "[MASK]", "word", *pieces, *WORDS), LENGTH, "wordpiece", scheme="plain")
    inputs = {"input_ids": torch.zeros(COUNT, LENGTH, dtype=torch.int64)}
    rows = [tokens.split() for tokens in texts_of()]
    for place, words in enumerate(rows):
        numbers = [2, *(task.vocabulary.index(word) for word in words), 3]
        inputs["input_ids"][place, : len(numbers)] = torch.tensor(numbers)
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    is_word = inputs["input_ids"] >= len(task.vocabulary) - len(WORDS)
    targets = torch.where(is_word & (inputs["input_ids"] % 3 > 0), inputs["input_ids"] % 2, NO_WORD)
    found, followed = noise.draw(inputs, targets, SEED, 0, torch.arange(COUNT), task=task)
    known = found["input_ids"] >= len(task.vocabulary) - len(WORDS)
    right = torch.where(known & (found["input_ids"] % 3 > 0), found["input_ids"] % 2, NO_WORD)
    masked = found["input_ids"] == task.mask_id
    assert torch.equal(followed[~masked], right[~masked])
    if noise.mask:
        assert set(followed[masked].tolist()) == {NO_WORD, 0, 1}  # masked words keep their tags


def tokenizer(words, special):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(special)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return made.to_str()


BEGINNINGS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("marked", [True, False])
def test_a_tokenizer_names_its_mask_and_what_stays(pairs, marked):
    """What it puts around a text stays also where its file does not mark it as special."""
    described = tokenizer([*BEGINNINGS, *WORDS], BEGINNINGS if marked else [])
    task = Text(("bad", "good"), length=20, pairs=pairs, tokens="tokenizer", tokenizer=described)
    assert (task.mask_id, task.padding_id, task.special_ids) == (4, 2, [0, 1, 2] if marked else [0, 1])
    inputs = task.encode(["unheard " + text.replace("\t", "\tunheard ") for text in texts_of(pairs)])
    found, _ = TokenNoise(mask=0.5, drop=0.2).draw(inputs, torch.zeros(COUNT), 0, 0, torch.arange(COUNT), task=task)
    special = torch.tensor([0, 1])
    for before, after in zip(inputs["input_ids"], found["input_ids"], strict=True):
        assert before[torch.isin(before, special)].tolist() == after[torch.isin(after, special)].tolist()
    assert 0.3 < float((found["input_ids"] == 4).sum() / (inputs["input_ids"] > 2).sum()) < 0.5
    unknown = (inputs["input_ids"] == 3).sum()
    assert 0 < int((found["input_ids"] == 3).sum()) < int(unknown)  # an unknown word is a word


def test_a_tokenizer_without_a_mask_is_told_so():
    words = [word for word in BEGINNINGS if word != "<mask>"]
    task = Text(("a", "b"), length=6, tokens="tokenizer", tokenizer=tokenizer([*words, *WORDS], words))
    inputs, more = task.encode(WORDS[:2]), (torch.zeros(2), 0, 0, torch.arange(2))
    with pytest.raises(UserError, match=r"the tokenizer has no \[MASK\] and no <mask>: set mask = 0"):
        TokenNoise().draw(inputs, *more, task=task)
    TokenNoise(mask=0, drop=0.5).draw(inputs, *more, task=task)


def test_a_vocabulary_of_words_without_a_mask_has_the_unknown_word_for_it():
    assert task_of(masks=False).mask_id == 1
    assert task_of().mask_id == 4


def epoch(data, augmentation):
    return next(data.train.epoch(0, seed=0, batch=4, augmentation=augmentation, task=data.task, device=CPU))


IDS = {"input_ids": torch.randint(4, 20, (12, LENGTH)), "attention_mask": torch.ones(12, LENGTH, dtype=torch.int64)}
TOKENS = Augmentation(tokens=TokenNoise())
PADDED_FIRST = {**IDS, "attention_mask": IDS["attention_mask"].index_fill(1, torch.tensor([0]), 0)}


@pytest.mark.parametrize(
    ("data", "augmentation", "message"),
    [
        (from_tensors((torch.rand(12, 1, 4, 4), torch.arange(12) % 2)), TOKENS, "tokens changes texts, and these"),
        (
            from_tensors((IDS, torch.arange(12) % 2)),
            TOKENS,
            "vocabulary of their task, and task 'classification' has none",
        ),
        (
            from_tensors((IDS, torch.arange(12) % 2), task=task_of()),
            Augmentation(tokens=TokenNoise(), flip=True),
            "data are input_ids, attention_mask, to which what is of images does not apply: leave out flip",
        ),
        (
            from_tensors(({**IDS, **{f"large:{key}": IDS[key] for key in IDS}}, torch.arange(12) % 2), task=task_of()),
            TOKENS,
            "these texts have those of large, too",
        ),
        (
            from_tensors((IDS, torch.arange(12) % 2), task={"name": "text", "length": LENGTH}),
            TOKENS,
            "and the task knows 4 tokens, so that beginn",
        ),
        (
            from_tensors((PADDED_FIRST, torch.arange(12) % 2), task=task_of()),
            Augmentation(tokens=TokenNoise(drop=0.2)),
            "drop and span move tokens to the front, and here an attention_mask begins with padding",
        ),
    ],
)
def test_what_cannot_be_changed_is_told_by_name(data, augmentation, message):
    with pytest.raises(UserError, match=message):
        epoch(data, augmentation)


def test_masks_alone_need_no_padding_at_the_end():
    data = from_tensors((PADDED_FIRST, torch.arange(12) % 2), task=task_of())
    assert torch.equal(epoch(data, TOKENS).inputs["attention_mask"][:, 0], torch.zeros(4, dtype=torch.int64))


def test_with_all_shares_at_0_texts_are_as_they_are():
    """So a method takes away what [train] has, and a search may begin at 0."""
    text = """
seeds = [0]
[data]
name = "sst2"
[student]
network = "text-encoder"
[train]
augmentation = { tokens = { mask = 0.2, drop = 0.2, span = 0.25 } }
[methods.alone]
train = { augmentation = { tokens = { mask = 0 } } }
"""
    noise = recipe.parse(text).methods["alone"].train.augmentation.tokens
    assert noise == TokenNoise(mask=0)
    task = task_of()
    inputs = task.encode(texts_of())
    found = changed(noise, task, texts_of())
    assert all(torch.equal(inputs[name], found[name]) for name in inputs)


def network():
    torch.manual_seed(0)
    return understudy.models.build("text-encoder", classes=2, channels=len(WORDS) + 5, size=LENGTH, width=8, depth=1)


@pytest.mark.parametrize(
    ("noise", "terms", "clean", "warning"),
    [
        (TokenNoise(span=0.2), as_sum(CE()), False, "Train without span what has no teacher"),
        (TokenNoise(span=0.2), CE() + KD(), True, "what the label of the text says"),
        (TokenNoise(span=0.2), as_sum(KD()), True, "what the teacher answers to the whole text"),
        (TokenNoise(span=0.2), as_sum(KD()), False, None),
        (TokenNoise(mask=0.2, drop=0.2), CE() + KD(), True, None),
    ],
)
def test_the_check_warns_of_spans_beside_what_belongs_to_whole_texts(tmp_path, noise, terms, clean, warning):
    task = task_of()
    data = from_tensors((task.encode(texts_of()), torch.arange(COUNT) % 2), task=task, validation=40)
    config = TrainConfig(epochs=2, batch=16, augmentation=Augmentation(tokens=noise))
    stage, stored = Stage("only", terms, config), understudy.StoredAnswers(clean=clean, folder=str(tmp_path))
    settings = Settings(device="cpu")
    found = preflight.check_stage(stage, network(), [network()], data, settings, stored=stored, timed=False)
    warnings = [finding.text for finding in found if finding.level == "warning" and "tokens.span" in finding.text]
    assert [warning in text for text in warnings] == ([True] if warning else [])


def test_stored_answers_to_changed_texts_are_those_of_the_live_teacher(tmp_path, monkeypatch):
    task = task_of()
    data = from_tensors((task.encode(texts_of()[:80]), torch.arange(80) % 2), task=task, validation=16)
    config = TrainConfig(epochs=3, batch=16, group_by_length=2, augmentation=Augmentation(tokens=ALL))
    stored = understudy.StoredAnswers(views=3, folder=str(tmp_path / "answers"))
    asked, ask = [], Objective.ask
    monkeypatch.setattr(
        Objective, "ask", lambda self, inputs: asked.append(len(inputs["input_ids"])) or ask(self, inputs)
    )
    students, counts = [], []
    for answers in (None, stored, stored):
        asked.clear()
        made = understudy.distill(
            network(), network(), data, method="kd", config=config, answers=answers, accept_weak=True, check=False
        )
        students.append(made.student.state_dict())
        counts.append(asked.count(16))
    assert all(torch.equal(value, other[name]) for other in students[1:] for name, value in students[0].items())
    assert counts == [12, 12, 0]  # three views of four batches


def test_stored_answers_to_texts_with_another_mask_are_not_taken(tmp_path):
    """One vocabulary has a mask; by the other, of which the tokens have the same numbers, [UNK] stands for it."""
    task = task_of()
    without = replace(task, vocabulary=tuple("free" if word == "[MASK]" else word for word in task.vocabulary))
    config = TrainConfig(epochs=1, batch=16, augmentation=Augmentation(tokens=TokenNoise(mask=0.01)))
    for each in (without, task, task):
        data = from_tensors((task.encode(texts_of()[:80]), torch.arange(80) % 2), task=each, validation=16)
        stored = understudy.StoredAnswers(views=1, folder=str(tmp_path))
        understudy.distill(
            network(), network(), data, method="kd", config=config, answers=stored, accept_weak=True, check=False
        )
    assert len(list(tmp_path.glob("*/store.json"))) == 2
