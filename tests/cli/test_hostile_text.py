"""Text from files is shown as text: in the terminal, in messages, in pages, in the model card."""

import re
import sys

import pytest
import torch
from PIL import Image
from rich.table import Table

from understudy import UserError, cli
from understudy.cli._shared import Terminal, json_text
from understudy.printable import LINE, message, printable, shown

ESCAPES = {
    "clear": "\x1b[2J\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "markup": "[bold red]m[/bold red] [link=file:///x]y[/]",
    "broken markup": "[/nothing] [",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "bidi": "\u202egnp.exe\u2066",
    "controls": "a\rb\bc\x00d\x7fe\x9b31mf",
    "surrogate": "\udc80",
    "formula": "$\\frac{1$ ${}",
    "jinja": "{{ 7 * 7 }} {% raw %}",
    "markdown": "](javascript:x) ![x](y) `code` # **b**",
    "emoji": ":warning: \u200b",
}
RAW = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u202e\u2066\u200b\udc80"]


def raw(text):
    """The letters in it that steer a terminal."""
    return [letter for letter in RAW if letter in text and letter not in "\n\t"]


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert raw(shown.out + shown.err) == []
        return caught.value.code or 0, shown.out, shown.err

    return run


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_a_terminal_shows_it_as_text(text, capsys):
    terminal = Terminal()
    terminal.width = 200
    terminal.print(text)
    terminal.print(text, style="yellow", soft_wrap=True)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    terminal.print(table)
    out = capsys.readouterr().out
    assert raw(out) == []
    assert out.count(printable(text).split()[0]) >= 4


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_messages_and_json_show_it_as_text(text):
    import json

    for hostile in (text, f"'{text}'", shown(text), f"{text}\n{text}"):
        assert raw(str(UserError(hostile))) == []
    written = json_text(json.dumps({text: text}, ensure_ascii=False))
    assert raw(written) == []
    assert json.loads(written) == {text: text}


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, list(range(10**5)), 10**5000, {"a": "y" * 999}, [[]] * 999],
    ids=["text", "list", "number", "table", "nested"],
)
def test_a_value_is_repeated_in_eighty_letters(value):
    assert len(shown(value)) <= 80
    assert len(message(f"{value if isinstance(value, str) else shown(value)}: no such thing")) <= LINE
    assert len(str(UserError("\n".join(["line " * 999] * 999)))) < 150_000


TINY = """
title = {title}
[data]
name = "folder"
root = "pictures"
size = 8
validation = 6
[student]
network = "resnet-blocks"
settings = {{ blocks = [1], widths = [2], strides = [1], stem = 2 }}
[train]
epochs = 1
batch = 8
[settings]
threads = 1
[methods.{name}]
method = "alone"
"""


HOSTILE = ["\x1b]0;owned\x07 [bold]b <script>alert(1)<", "\u202e[/b] $\\frac{1$ {{ 7 }} :x: \x9b"]


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Writes a recipe and its pictures with a text in all their names, into the current folder."""
    import json

    monkeypatch.chdir(tmp_path)

    def write(text):
        name = printable(text).replace("/", "").replace("\\", "").strip()[:40]
        for part, count in (("train", 12), ("test", 4)):
            for number in range(count):
                place = tmp_path / "pictures" / part / (f"{number % 2}{text}".replace("/", ""))
                place.mkdir(parents=True, exist_ok=True)
                generator = torch.Generator().manual_seed(number)
                pixels = torch.randint(0, 255, (8, 8, 3), dtype=torch.uint8, generator=generator)
                Image.fromarray(pixels.numpy()).save(place / f"{number} {text}.png".replace("/", ""))
        (tmp_path / "r.toml").write_text(TINY.format(title=json.dumps(text), name=json.dumps(name)), encoding="utf-8")

    return write


@pytest.mark.parametrize("text", HOSTILE)
def test_names_of_a_run_reach_terminal_page_and_card_as_text(text, command, hostile, quick, tmp_path):
    """The title, the classes (folders) and the pictures' names hold it; the method's table holds what of it may be."""
    hostile(text)
    code, out, err = command("check", "r.toml")
    assert code == 0, err
    code, out, err = command("distill", "r.toml", "--out", "run", "--no-check")
    assert code == 0, err
    shown_text = printable(text).replace("/", "").split()[0]
    assert printable(text).split()[0] in out
    for words in (["--markdown"], ["--latex"], ["--json"], []):
        assert command("report", "run", *words)[0] == 0
    picture = next((tmp_path / "pictures" / "test").rglob("*.png"))
    code, out, err = command("predict", "run", picture)
    assert code == 0, err
    assert shown_text in out
    assert command("predict", "run", picture, "--json")[0] == 0
    assert command("predict", "run", f"no {text}")[0] == 2
    assert command("card", "run")[0] == 0
    assert command("distill", "r.toml", "--out", "run", "--dry-run")[0] == 0
    page, card = ((tmp_path / "run" / file).read_text(encoding="utf-8") for file in ("report.html", "README.md"))
    assert "<script" not in page.replace("&lt;script", "")
    assert raw(page) == raw(card) == []
    assert "<script" not in re.sub("`[^`]*`", "", card).replace("\\<script", "")
    assert "49" not in printable(text)


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
@pytest.mark.parametrize("words", [["check"], ["report"], ["card"], ["taps"], ["distill", "--out", "r"], ["methods"]])
def test_a_name_that_is_not_there_is_told_as_text(words, text, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(words[0], text.replace("\x00", ""), *words[1:])
    assert code == 2
    assert err.count("\n") < 12


PATH = """
[teacher]
network = "plain4"
accept_weak = true
[teacher.train]
epochs = 1
[methods.kd]
[path]
sizes = [3]
"""


def test_names_of_a_run_reach_searches_measurements_and_exports_as_text(command, hostile, quick, tmp_path):
    hostile(" ".join(HOSTILE))
    for words in (
        ("tune", "r.toml", "--out", "tune", "--search", "train.optimizer.lr={0.1, 0.2}", "--trials", "2", "--no-check"),
        ("distill", "r.toml", "--out", "run", "--no-check"),
        ("landscape", "run", "--grid", "3", "--samples", "4"),
        ("export", "run", "--to", "torch", "--broken"),
        ("report", "run"),
        ("report", "tune"),
        ("bench", "r.toml", "--seconds", "0.01"),
    ):
        code, out, err = command(*words)
        assert code == 0, (words, out, err)
    recipe = (tmp_path / "r.toml").read_text(encoding="utf-8")
    before, after = recipe.index("[student]"), recipe.index("[train]")
    recipe = recipe[:before] + '[student]\nnetwork = "plain2"\n' + recipe[after : recipe.index("[methods.")]
    (tmp_path / "path.toml").write_text(recipe + PATH, encoding="utf-8")
    code, out, err = command("path", "path.toml", "--out", "path", "--no-check")
    assert code == 0, (out, err)
    assert "3" in out
    for page in ("run", "tune", "path"):
        if (tmp_path / page / "report.html").is_file():
            assert "<script" not in (tmp_path / page / "report.html").read_text(encoding="utf-8")
