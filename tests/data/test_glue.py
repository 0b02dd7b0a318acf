"""GLUE's nine tasks in their published form: read, measured as the benchmark does, and answered in its form."""

import json

import pytest
import torch
from typer.testing import CliRunner

import understudy
from understudy import data, tasks
from understudy.cli._app import app
from understudy.data.sets.glue import SUBSETS, unlabelled
from understudy.errors import UserError
from understudy.shipping.glue import write_submission
from understudy.tasks import Text, TextScores
from understudy.tasks.words import SPECIAL

# The columns of the published files; a and b are the texts, y is the label.
TRAINING = {
    "cola": "gj04\ty\t*\ta",
    "sst2": "a\ty",
    "mrpc": "y\t1\t2\ta\tb",
    "stsb": "0\tnews\tfile\t2012\t1\tx\tx\ta\tb\ty",
    "qqp": "0\t1\t2\ta\tb\ty",
    "mnli": "0\t1\t2\tg\tx\tx\tx\tx\ta\tb\tz\ty",
    "qnli": "0\ta\tb\ty",
    "rte": "0\ta\tb\ty",
    "wnli": "0\ta\tb\ty",
}
TEST = {
    "cola": "0\ta",
    "sst2": "0\ta",
    "mrpc": "0\t1\t2\ta\tb",
    "stsb": "0\tnews\tfile\t2012\t1\tx\tx\ta\tb",
    "qqp": "0\ta\tb",
    "mnli": "0\t1\t2\tg\tx\tx\tx\tx\ta\tb",
    "qnli": "0\ta\tb",
    "rte": "0\ta\tb",
    "wnli": "0\ta\tb",
}
LABELS = {name: list(subset.written) or ["0.000", "2.500", "5.000"] for name, subset in SUBSETS.items()}
TEXTS = [("a fine film", "fine film"), ('a "dull film', "not the same"), ("a long film", "a film of length")]


def line(form, number, label=None):
    first, second = TEXTS[number % len(TEXTS)]
    cells = {"a": first, "b": second, "y": label, "0": str(number)}
    return "\t".join(cells.get(cell, cell) for cell in form.split("\t"))


@pytest.fixture
def glue(tmp_path):
    """The folder of made files of a subset."""

    def make(name):
        subset, labels = SUBSETS[name], LABELS[name]
        folder = tmp_path / subset.folder
        folder.mkdir()
        header = ["names\tof\tcolumns"] if subset.header else []
        for part, count in (("train", 12), *((dev, 6) for dev in subset.dev)):
            lines = [line(TRAINING[name], number, labels[number % len(labels)]) for number in range(count)]
            (folder / f"{part}.tsv").write_text("\n".join(header + lines) + "\n")
        lines = [line(TEST[name], number) for number in range(5)]
        (folder / "test.tsv").write_text("\n".join(["index\tsentence", *lines]) + "\n")
        return folder

    return make


@pytest.mark.parametrize("name", sorted(SUBSETS))
def test_each_subset_is_read_in_its_form(glue, tmp_path, name):
    glue(name)
    subset = SUBSETS[name]
    read = data.load("glue", tmp_path, subset=name, length=10, least=1, validation=2)
    task = read.task
    assert isinstance(task, Text if subset.classes else TextScores)
    assert task.pairs == subset.pairs
    assert (len(read.train), len(read.validation), len(read.test)) == (10, 2, 6)
    assert task.selecting.name == {"cola": "matthews", "mrpc": "f1", "qqp": "f1", "stsb": "pearson"}.get(
        name, "accuracy"
    )
    places = read.test.ids.argsort()
    wanted = [float(label) if not subset.classes else subset.written.index(label) for label in LABELS[name]] * 6
    assert read.test.targets[places].flatten().tolist() == wanted[:6]
    ids = read.test.source.samples["input_ids"][0].tolist()
    words = [task.vocabulary[number] for number in ids if number]
    second = ["fine", "film", "[SEP]"] if subset.pairs else []
    assert words == ["[CLS]", "a", "fine", "film", "[SEP]", *second]
    assert '"' in task.vocabulary  # quotes are text


def test_sentences_that_lose_their_ends_are_counted(glue, tmp_path):
    glue("sst2")
    whole = data.load("glue", tmp_path, subset="sst2", length=6, least=1)  # as many tokens as the longest text has
    assert len(whole.test) == 6
    short = data.load("glue", tmp_path, subset="sst2", length=5, least=1, token_tables={"long": {"length": 9}})
    with pytest.warns(
        UserWarning, match=r"dev\.tsv: 2 of 6 texts have more than 5 tokens, and their ends are left out"
    ):
        assert len(short.test) == 6
    assert short.facts["texts cut off"] == 4
    assert "texts cut off" not in whole.facts


def test_mismatched_genres_and_broken_lines(glue, tmp_path):
    folder = glue("mnli")
    (folder / "dev_mismatched.tsv").unlink()
    settings = {"subset": "mnli", "least": 1}
    assert len(data.load("glue", tmp_path, **settings).test) == 6
    with pytest.raises(UserError, match=r"holds no dev_mismatched\.tsv"):
        assert data.load("glue", tmp_path, **settings, mismatched=True).test
    assert "holds no dev_mismatched.tsv" in data.load("glue", tmp_path, **settings, mismatched=True).problems()[0]
    qqp = glue("qqp") / "train.tsv"
    qqp.write_text(qqp.read_text() + "12\t1\n")
    assert data.load("glue", tmp_path, subset="qqp").facts["skipped"] == 1
    qqp.write_text(qqp.read_text() + "12\t1\t2\tHow can I develop android app?\t\t0\n")  # as in the published file
    assert len(data.load("glue", tmp_path, subset="qqp", validation=0).train) == 13
    rte = glue("rte") / "train.tsv"
    rte.write_text(rte.read_text() + "12\ta\tb\tperhaps\n")
    with pytest.raises(UserError, match="line 14: a text in column 2, 3 and a label, entailment or not_entailment"):
        data.load("glue", tmp_path, subset="rte")
    with pytest.raises(UserError, match="mismatched is a setting of 'mnli' alone"):
        data.load("glue", tmp_path, subset="rte", mismatched=True)


def test_a_file_without_names_of_columns_or_with_labels_is_refused(glue, tmp_path):
    folder = glue("sst2")
    train = folder / "train.tsv"
    train.write_text(train.read_text().partition("\n")[2])
    with pytest.raises(UserError, match=r"train.tsv, line 1 is a sample, and the names of the columns are expected"):
        data.load("glue", tmp_path, subset="sst2")
    with pytest.raises(UserError, match=r"dev.tsv, line 2: the sample's number and a text in column 2 are expected"):
        unlabelled(folder / "dev.tsv", SUBSETS["sst2"])


def test_each_line_of_a_vocabulary_is_one_token(glue, tmp_path):
    glue("sst2")
    tokens = (*SPECIAL, "\u2028", "fine", "\x85", "film")
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    read = data.load("glue", tmp_path, subset="sst2", tokens="wordpiece", vocabulary=str(file))
    assert read.task.vocabulary == tokens


def test_pairs_are_cut_from_the_end_of_the_longer_text():
    task = Text(("no", "yes"), (*SPECIAL, *"abcdefgh"), length=8, pairs=True)

    def pieces(text):
        return " ".join(task.vocabulary[number] for number in task.encode([text])["input_ids"][0].tolist())

    assert pieces("a b c d e\tf") == "[CLS] a b c d [SEP] f [SEP]"
    assert pieces("a b c d e\tf g h") == "[CLS] a b c [SEP] f g [SEP]"
    assert pieces("a\tb") == "[CLS] a [SEP] b [SEP] [PAD] [PAD] [PAD]"
    with pytest.raises(UserError, match="'a b' is one text: the two texts of a pair are separated by a tab"):
        task.encode(["a b"])


@pytest.mark.parametrize("name", ["sst2", "rte"])
def test_a_tokenizer_from_its_file_is_part_of_the_task(glue, tmp_path, name):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    glue(name)
    words = ["<s>", "</s>", "<pad>", "<unk>", "a", "fine", "film", "dull", "long", "not", "same", "the", "of", "length"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    file = tmp_path / "tokenizer.json"
    made.save(str(file))
    read = data.load("glue", tmp_path, subset=name, tokens="tokenizer", vocabulary=str(file), length=8)
    again = tasks.from_description(json.loads(json.dumps(read.task.describe())))
    assert again == read.task
    assert read.shape == (len(words), 8)
    text = "a fine film" + ("\tfine film" if name == "rte" else "")
    ids = [words[number] for number in again.encode([text])["input_ids"][0].tolist()]
    expected = "<s> a fine </s> </s> fine film </s>" if name == "rte" else "<s> a fine film </s> <pad> <pad> <pad>"
    assert ids == expected.split()
    with pytest.raises(UserError, match=r"this is no tokenizer.json of Hugging Face's tokenizers"):
        Text(("no", "yes"), tokens="tokenizer", tokenizer="{}").encode(["a"])
    with pytest.raises(UserError, match="belong together"):
        data.load("glue", tmp_path, subset=name, tokens="tokenizer")


def test_metrics_are_those_of_torchmetrics_and_scipy():
    from scipy.stats import pearsonr, spearmanr
    from torchmetrics.functional.classification import binary_f1_score, binary_matthews_corrcoef

    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 2, generator=generator), torch.randint(0, 2, (50,), generator=generator)
    meter = Text(("no", "yes"), SPECIAL, metrics=("f1", "matthews")).meter()
    for part in (slice(0, 20), slice(20, None)):
        meter.update({"logits": logits[part]}, labels[part])
    found, choice = meter.compute(), logits.argmax(1)
    assert found["f1"] == pytest.approx(binary_f1_score(choice, labels).item())
    assert found["matthews"] == pytest.approx(binary_matthews_corrcoef(choice, labels).item(), abs=1e-6)
    values = torch.randint(0, 9, (50, 1), generator=generator).float()
    targets = (values + torch.randint(0, 9, (50, 1), generator=generator)) / 4
    meter = TextScores(("score",), (1.0,)).meter()
    for part in (slice(0, 20), slice(20, None)):
        meter.update({"values": values[part]}, targets[part])
    found = meter.compute()
    assert found["pearson"] == pytest.approx(pearsonr(values.flatten(), targets.flatten()).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(values.flatten(), targets.flatten()).statistic)
    constant = Text(("no", "yes"), SPECIAL, metrics=("matthews",)).meter()
    constant.update({"logits": torch.tensor([[1.0, 0.0]] * 4)}, torch.tensor([0, 1, 0, 1]))
    assert constant.compute()["matthews"] == 0.0


def test_a_correlation_with_nan_is_nan():
    meter = TextScores(("score",)).meter()
    meter.update({"values": torch.tensor([[1.0], [torch.nan], [2.0]])}, torch.tensor([[1.0], [2.0], [3.0]]))
    found = meter.compute()
    assert all(torch.tensor(found[name]).isnan() for name in ("pearson", "spearman"))


@pytest.mark.parametrize("name", ["mrpc", "stsb"])
def test_a_student_answers_the_test_part_in_the_benchmarks_form(glue, tmp_path, name, monkeypatch):
    folder = glue(name)
    read = data.load("glue", tmp_path, subset=name, length=10, least=1, validation=2)
    student = understudy.models.build(
        "text-encoder", classes=read.task.outputs, channels=read.shape[0], size=10, width=8, depth=1, heads=2
    )
    out = tmp_path / "run"
    understudy.distill(None, student, read, method="alone", epochs=1, out=out, callback=understudy.Callback())
    file = tmp_path / SUBSETS[name].files[0]
    assert write_submission(out, [str(folder / "test.tsv")], file) == 5
    head, *lines = file.read_text().splitlines()
    assert head == "index\tprediction"
    assert [line.split("\t")[0] for line in lines] == list("01234")
    answers = [line.split("\t")[1] for line in lines]
    assert all(answer in ("0", "1") if name == "mrpc" else 0 <= float(answer) <= 5 for answer in answers)
    told = CliRunner().invoke(app, ["predict", str(out), str(folder / "test.tsv"), "--submission", str(file), "--json"])
    assert json.loads(told.stdout) == {"file": str(file), "samples": 5}
    assert file.read_text().splitlines() == [head, *lines]
    monkeypatch.chdir(folder)
    (folder / "a fine film\tfine film").write_text("other\ttexts\nof a\tfile")  # a text that is the name of a file
    assert write_submission(out, [str(folder / "test.tsv")], file) == 5
    assert file.read_text().splitlines() == [head, *lines]
    with pytest.raises(UserError, match=r"'MRCP.tsv' is the name of no submission to GLUE; did you mean 'MRPC.tsv'"):
        write_submission(out, [str(folder / "test.tsv")], tmp_path / "MRCP.tsv")
    with pytest.raises(UserError, match="and RTE has entailment, not_entailment: train it on the data set 'glue'"):
        write_submission(out, [str(folder / "test.tsv")], tmp_path / "RTE.tsv")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Text(("a", "b", "c"), SPECIAL, metrics=("f1",)), "f1 and matthews are of two classes"),
        (lambda: Text(("a", "b"), SPECIAL, metrics=()), "name one at least"),
        (lambda: Text(("a", "b"), SPECIAL, length=4, pairs=True), "one token of each of both"),
        (lambda: TextScores(("a", "b"), (1.0, 1.0)), "one number for each text, not 2"),
    ],
)
def test_a_task_that_cannot_be_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_the_numbers_of_a_tokenizer_may_have_gaps():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 9}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    task = Text(("no", "yes"), tokens="tokenizer", tokenizer=made.to_str(), length=4)
    assert task.encode(["bad"])["input_ids"].max() == 9
    assert task.token_count == 10
