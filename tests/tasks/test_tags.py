"""Tags of words: entities counted as seqeval counts them, words at their first token, CoNLL's files, a recipe."""

import random

import pytest
import torch

import understudy
from understudy import Settings, TrainConfig, recipe
from understudy.answers import StoredAnswers
from understudy.config.stage import Stage
from understudy.data import load
from understudy.errors import UserError
from understudy.models import build
from understudy.models.origins import named
from understudy.runs.run import Run
from understudy.shipping.predict import predict
from understudy.tasks import Tags, Told
from understudy.tasks.tags import NO_WORD, counted, entities, kinds
from understudy.tasks.words import vocabulary_of
from understudy.terms import CE, KD, as_sum
from understudy.training import preflight
from understudy.training.loop import Training

BIO = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
UPSTREAM = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
calls NNS I-NP B-MISC
. . O O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

"""


def seqevals(tags):
    """``get_entities`` of seqeval/metrics/sequence_labeling.py (chakki-works/seqeval, cd01b52, MIT) for B, I and O."""
    before, before_kind, begin, found = "O", "", 0, []
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = tag[0], tag[1:].split("-", maxsplit=1)[-1] or "_"
        ended = (before in "BI" and mark in "BO") or (before != "O" and before_kind != kind)
        started = mark == "B" or (before == "O" and mark == "I") or (mark != "O" and before_kind != kind)
        if ended:
            found.append((before_kind, begin, place - 1))
        if started:
            begin = place
        before, before_kind = mark, kind
    return found


def test_entities_are_those_of_seqeval():
    draw, marks = random.Random(0), kinds(BIO)
    for _ in range(60):
        length, sentences = draw.randint(1, 9), []
        for _ in range(4):
            words = [draw.random() < 0.7 or place == 0 for place in range(length)]
            sentences.append([[draw.randrange(5) if word else NO_WORD for word in words] for _ in range(2)])
        right = found = there = 0
        for rows in sentences:
            answer, target = ([BIO[tag] for tag in row if tag != NO_WORD] for row in rows)
            for tags in (answer, target):
                assert entities(tags) == seqevals(tags)
            right += len({*seqevals(answer)} & {*seqevals(target)})
            found, there = found + len(seqevals(answer)), there + len(seqevals(target))
        chosen, numbers = (torch.tensor([rows[which] for rows in sentences]) for which in range(2))
        # Answers are made for every token, and those without a word do not count.
        assert counted(chosen, numbers, marks).tolist() == [right, found, there]


def test_figures_are_of_all_sentences_and_padding_does_not_count():
    task, meter = Tags(BIO, length=6), Tags(BIO, length=6).meter()
    assert task.figures[0].name == "f1"
    targets = torch.tensor([[NO_WORD, 3, 4, 0, NO_WORD, NO_WORD], [NO_WORD, 1, NO_WORD, NO_WORD, NO_WORD, NO_WORD]])
    chosen = torch.tensor([[3, 3, 4, 1], [0, 0, 3, 3]])  # a batch without two columns of padding
    meter.update({"logits": 9 * torch.eye(5)[chosen]}, targets)
    figures = meter.compute()
    assert figures["f1"] == pytest.approx(2 * 1 / (2 + 2))
    assert figures["accuracy"] == pytest.approx(2 / 4)
    loss = task.loss({"logits": 9 * torch.eye(5)[chosen]}, targets)
    rows = task.rows({"logits": 9 * torch.eye(5)[chosen]}, targets)
    by_row = torch.nn.functional.cross_entropy(rows.flat, rows.flat_labels, reduction="none")
    torch.testing.assert_close(rows.fold(by_row), loss)


WORDPIECE = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "anna", "sing", "##s", "in", "ro", "##me", ".")


@pytest.mark.parametrize("tokens", ["words", "wordpiece", "tokenizer"])
def test_a_word_is_tagged_at_its_first_token(tokens):
    settings = {"vocabulary": WORDPIECE}
    if tokens == "tokenizer":
        settings = {"tokenizer": wordpiece()}
    task = Tags(BIO, length=8, tokens=tokens, **settings)
    inputs, (places,) = task.aligned([["Anna", "sings", "in", "Rome", "."]])
    if tokens == "words":
        assert places == [1, 2, 3, 4, 5]
        assert inputs["input_ids"].tolist() == [[2, 4, 1, 7, 1, 10, 3, 0]]
    else:
        assert places == [1, 2, 4, 5, -1]  # the last word has no room
        assert inputs["input_ids"].tolist() == [[2, 4, 5, 6, 7, 8, 9, 3]]
    assert all(torch.equal(value, inputs[name]) for name, value in task.encode(["Anna sings in Rome ."]).items())
    tags = ["O"] * 8
    tags[places[0]], tags[places[3]] = "B-PER", "I-LOC"
    told = task.of_text(Told("", {"tags": tags}), "Anna sings in Rome .")
    assert told.text == "PER: Anna; LOC: Rome"
    assert told.record["entities"][1] == {"entity": "LOC", "text": "Rome", "first": 3, "last": 3}
    last = tags[5] if tokens == "words" else None
    assert [word["tag"] for word in told.record["words"]] == ["B-PER", "O", "O", "I-LOC", last]


@pytest.mark.parametrize("sequence", [False, True])
def test_byte_level_tokenizers_see_a_blank_before_each_word(sequence):
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"<pad>": 0, "a": 1, "\u0120": 2, "\u0120a": 3}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("\u0120", "a")]))
    step = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([step]) if sequence else step
    task = Tags(BIO, length=5, tokens="tokenizer", tokenizer=made.to_str())
    inputs, places = task.aligned([["a", "a"]])
    assert inputs["input_ids"].tolist() == [[3, 3, 0, 0, 0]]  # as in " a a", and not "aa"
    assert places == [[0, 1]]


def wordpiece():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({token: number for number, token in enumerate(WORDPIECE)}, unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made.to_str()


def test_conll_2003_is_read_in_its_upstream_form(tmp_path):
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(UPSTREAM)
    data = load("conll", tmp_path, length=7, least=1)
    assert data.task.classes == ("O", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert (len(data.train), len(data.validation), len(data.test)) == (2, 2, 2)
    tags = [[data.task.classes[tag] for tag in row if tag != NO_WORD] for row in data.train.targets.tolist()]
    assert tags == [["B-ORG", "O", "B-MISC", "B-MISC", "O"], ["B-PER", "I-PER"]]  # IOB1 in the file
    assert data.task.commonest_share == pytest.approx(2 / 7, abs=1e-4)
    chunks = load("conll", tmp_path, column=2, least=1).task
    assert chunks.classes == ("O", "B-NP", "I-NP", "B-VP", "I-VP")
    speech = load("conll", tmp_path, column=1, scheme="plain", least=1).task
    assert speech.classes == (".", "JJ", "NNP", "NNS", "VBZ")
    assert [figure.name for figure in speech.figures] == ["accuracy"]
    assert speech.of_text(Told("", {"tags": ["NNP"] * 9}), "a b").text == "a/NNP b/NNP"
    with pytest.warns(UserWarning, match=r"eng.testa: 3 of 7 words are past the 4 tokens"):
        assert load("conll", tmp_path, length=4, least=1).facts["words cut off"] == 3


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        ("EU\n", {}, "line 1: a word and a tag in column -1"),
        ("EU NNP\n", {"column": 5}, "line 1: a word and a tag in column 5"),
        ("EU NNP\n", {}, "tag 'NNP' is none of O, B-KIND and I-KIND"),
        ("\n\n", {}, "holds no sentence"),
        ("EU B-ORG\n", {"tokens": "wordpiece"}, "belong together"),
        ("EU NNP B-ORG\nrejects I-NP\n", {}, "line 2 has 2 columns, and the lines before it have 3"),
        ("EU B-ORG\nrejects\n", {}, "line 2: a word and a tag in column -1"),
        ("EU O\n", {}, "column -1 of the training part holds no entity"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, settings, said):
    (tmp_path / "train.txt").write_text(content)
    with pytest.raises(UserError, match=said):
        load("conll", tmp_path, **settings)
    with pytest.raises(UserError, match="holds no sentences in CoNLL's columns"):
        load("conll", tmp_path / "nowhere")
    (tmp_path / "train.txt").write_text("EU B-ORG\n")
    (tmp_path / "test.txt").write_text("EU B-LOC\n")
    with pytest.raises(UserError, match="tag 'B-LOC' is in no sentence of the training part"):
        _ = load("conll", tmp_path, least=1, validation=0).test
    (problem,) = load("conll", tmp_path, least=1, validation=0).problems()
    assert "tag 'B-LOC'" in problem


def test_a_mark_of_the_order_of_bytes_is_no_word(tmp_path):
    (tmp_path / "train.txt").write_text("\ufeff-DOCSTART- -X- O\n\nAnna NNP B-PER\n")
    data = load("conll", tmp_path, least=1, validation=0)
    assert (len(data.train), data.task.vocabulary[4:]) == (1, ("anna",))


def test_what_may_be_wrong_with_a_file_is_warned_of(tmp_path):
    sentence = "Anna B-PER\n" * 101
    (tmp_path / "train.txt").write_text(f"{sentence}Bert B-PRE\n")
    with pytest.warns(UserWarning, match=r"'PRE' is the entity of 1 words of the training part, 'PER' of 101"):
        load("conll", tmp_path, validation=0, length=128)
    (tmp_path / "train.txt").write_text(f"{sentence}\nBert B-PER\n")
    (tmp_path / "test.txt").write_text("Anna B-PER\nin O\nOslo O\n")
    data = load("conll", tmp_path, validation=0, length=4)
    with pytest.warns(UserWarning, match=r"test.txt: 1 of 3 words are past the 4 tokens of a sentence"):
        assert len(data.test) == 1


def test_spaces_inside_a_word_divide_no_columns(tmp_path):
    """A no-break space and a line separator of Unicode are parts of a word, as in the upstream files."""
    (tmp_path / "train.txt").write_text("10\u00a0000\tO\nA\u2028B B-ORG\n", encoding="utf-8")
    assert load("conll", tmp_path, validation=0, least=1).task.vocabulary[-2:] == ("10\u00a0000", "a\u2028b")


NAMES, PLACES = ["anna", "bert", "carl"], ["rome", "oslo"]


@pytest.fixture
def folder(tmp_path):
    lines = [
        f"{name} B-PER\nsmith I-PER\nlives O\nin O\n{place} B-LOC\n{'now O' if number % 2 else '. O'}\n"
        for number, (name, place) in enumerate([(name, place) for name in NAMES for place in PLACES] * 4)
    ]
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}.txt").write_text("\n".join(lines))
    return tmp_path


def test_a_recipe_tags_words_from_training_to_prediction(folder):
    network = "network = 'text-encoder'\nsettings = { width = 8, depth = 1, heads = 2, pool = 'none' }"
    text = f"""
        [data]
        name = "conll"
        root = "{folder}"
        length = 10
        least = 1
        [teacher]
        {network}
        train = {{ epochs = 8 }}
        [student]
        {network}
        [train]
        epochs = 3
        batch = 8
        group_by_length = 2
        optimizer = {{ name = "adamw", lr = 0.03 }}
        [methods.alone]
        [methods.kd]
        temperature = 2
    """
    (folder / "tags.toml").write_text(text)
    run = Run(recipe.read(folder / "tags.toml"), folder / "run", callback=understudy.Callback())
    assert not [finding for finding in run.check() if finding.level == "error"]
    result = run.execute()
    assert result.teacher.figures["f1"].mean == 1.0
    assert set(result.methods["kd"].figures) >= {"f1", "accuracy", "agreement"}
    (answer,) = predict(folder / "run" / "trainings" / "teacher-0", ["Anna Smith lives in Oslo"])
    assert answer.text == "PER: Anna Smith; LOC: Oslo"


def test_stored_answers_and_batches_by_length_do_not_go_together(folder):
    data = load("conll", folder, length=10, least=1)
    networks = [
        build("text-encoder", classes=5, channels=data.shape[0], size=10, width=8, pool="none") for _ in range(2)
    ]
    stage = Stage("only", as_sum(CE() + KD()), TrainConfig(epochs=1, batch=8, group_by_length=2))
    settings = Settings(device="cpu")
    stored = StoredAnswers(folder=str(folder / "stored"))
    training = Training(networks[0], [networks[1]], [stage], data, settings=settings, stored=stored)
    with pytest.raises(UserError, match="leave out group_by_length or"):
        training.run()


def test_a_network_that_answers_to_whole_texts_is_told_what_to_take(folder):
    data = load("conll", folder, length=10, least=1)
    network = build("text-encoder", classes=5, channels=data.shape[0], size=10, width=8)
    (found,) = preflight.check_network("student", network, data, Settings(device="cpu"))
    assert 'take pool = "none" of text-encoder' in found.text


def test_transformers_answer_to_each_token():
    pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    network = build("transformers:bert", classes=5, channels=12, size=6, **sizes, head="tokens").eval()
    ids = torch.zeros(2, 6, dtype=torch.int64)
    assert Tags(BIO).answer(network(input_ids=ids, attention_mask=ids + 1))["logits"].shape == (2, 6, 5)
    spec = named(network)
    assert spec.settings["head"] == "tokens"
    with pytest.raises(UserError, match="head = 'words'"):
        build("transformers:bert", classes=5, channels=12, size=6, **sizes, head="words")


def test_what_no_task_can_be_is_said():
    with pytest.raises(UserError, match="tag 'X-PER' is none of O, B-KIND and I-KIND"):
        Tags(("O", "X-PER"))
    assert Tags(("NN", "VB"), scheme="plain").figures[0].name == "accuracy"
    with pytest.raises(UserError, match="name the tags"):
        Tags.of(torch.zeros(1, 4), names=3)
    with pytest.raises(UserError, match="sample 0 has tags that are not numbered 0 to 4"):
        Tags(BIO).check(torch.full((1, 3), 5))
    with pytest.raises(UserError, match="sample 1 has no word"):
        Tags(BIO).check(torch.tensor([[0, NO_WORD], [NO_WORD, NO_WORD]]))
    assert vocabulary_of(["U.N. u.n."], split=lambda text: text.lower().split())[-1] == "u.n."
