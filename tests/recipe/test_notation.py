"""Objectives as text: what they say, and that nothing in them is ever executed."""

import pytest

from understudy import UserError, linear, step
from understudy.methods.notation import parse
from understudy.terms import CE, KD, Hint, Labels, as_sum


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("CE", CE()),
        ("CE()", CE()),
        (" CE(0.1) + 0.9 * KD(temperature=4)", CE(0.1) + 0.9 * KD(4.0)),
        ("2 * (CE() + KD() * 0.5)", 2 * (CE() + 0.5 * KD())),
        ("KD(3, squared=False) * linear(4, 1, epochs=150)", KD(3.0, squared=False) * linear(4, 1, epochs=150)),
        (
            "step(0, 1, epoch=5) * (3 * Hint('a -> b:input', reduce='mean'))",
            step(0, 1, 5) * (3 * Hint("a -> b:input", "mean")),
        ),
        ("-0.5 * -2 * CE()", 1 * CE()),
        ("Labels() + KD(1)", Labels() + KD(1.0)),
    ],
)
def test_text_means_what_the_same_python_means(text, meant):
    assert parse(text) == as_sum(meant)


def test_what_is_printed_is_read_again():
    objective = CE(0.1) + 0.25 * KD(temperature=2.0) * linear(4, 1, epochs=10) + Hint("a -> b", reduce="mean")
    assert parse(str(as_sum(objective))) == as_sum(objective)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not understood"),
        ("CE( +", "not understood at column"),
        ("3", "this is no term"),
        ("linear(1, 0, epochs=3)", "this is no term"),
        ("CE() - KD()", "neither a number"),
        ("CE() * KD()", "has no meaning"),
        ("CE() + 1", "has no meaning"),
        ("CE() * 'x'", "has no meaning"),
        ("KD() * linear(1, 0, epochs=3) * linear(1, 0, epochs=3)", "one only"),
        ("Hnt()", "there is no term 'Hnt'; did you mean 'Hint'"),
        ("KD(temprature=2)", "KD has no setting 'temprature'; did you mean 'temperature'"),
        ("KD(temperature='hot')", "KD: temperature: Input should be a valid number"),
        ("CE(1, 2, 3)", "CE takes 1 settings, not 3"),
        ("Hint('conv1')", "teacher.tap -> student.tap"),
        ("Hint()", "Hint: pair"),
        ("linear(1, 0, epochs=0) * CE()", "epochs: Input should be greater than 0"),
        ("(" * 300 + "CE()" + ")" * 300, "objective"),
        ("CE()" + " + CE()" * 5000, "objective"),
        ("'ab' * 999999999999 * CE()", "has no meaning"),
        ("CE()\0", "objective"),
    ],
)
def test_a_mistake_is_told_with_the_text_and_the_way_out(text, said):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('echo hi')",
        "CE().__class__",
        "CE.__init__.__globals__",
        "(lambda: CE())()",
        "[CE() for _ in (1,)][0]",
        "KD(temperature=__import__('os').getpid())",
        "Hint(pair=open('/etc/passwd').read())",
        "exec('1')",
        "CE() if True else KD()",
        "f'{CE()}'",
        "(x := CE())",
        "CE(*[0.1])",
        "CE(**{'label_smoothing': 0.1})",
    ],
)
def test_nothing_is_executed(text, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    monkeypatch.setattr("builtins.open", lambda *a, **k: called.append(a))
    with pytest.raises(UserError):
        parse(text)
    monkeypatch.undo()
    assert called == []
