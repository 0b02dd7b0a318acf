"""The words of classification stand only where classification is meant; every other task goes the same way."""

import io
import re
import tokenize
from pathlib import Path

import pytest

import understudy

PACKAGE = Path(understudy.__file__).parent
WORDS = re.compile(r"(?i)(?<![a-z])(accurac(?:y|ies)|class(?:es)?|labels?)(?![a-z])")

DRAWN = ("answers", "curves", "drawing", "foreground", "frontier", "methods", "search")
ALLOWED = {
    "answers": {  # answers.top keeps the largest logits of a classification
        "answers/encoding.py": {"classes"},
        "answers/options.py": {"classes"},
        "answers/packed.py": {"class", "classes"},
        "answers/top.py": {"classes"},
        "answers/source.py": {"class"},
    },
    "training": {
        "training/evaluate.py": {"labels"},  # answers() is of classification alone
        "training/preflight/findings.py": {"labels"},  # samples without any
        "training/preflight/networks.py": {"class", "classes"},  # what answers may lack; class scores that are shares
        "training/preflight/stage.py": {"classes", "labels"},  # a teacher that masks some; terms that read the labels
        "training/preflight/teacher.py": {"classes", "labels"},  # a teacher that masks some; data without labels
        "training/stage_state.py": {"class", "classes", "labels"},  # facts of data whose targets are class numbers
    },
    "plans": {
        "plans/engines/processes.py": {"class"},  # of Python: what can be pickled
        "plans/training.py": {"labels"},  # data without any
        "plans/key.py": {"class", "labels"},  # the type of a network, by which keys know it; data without labels
    },
    "paths": {},
    "tuning": {},
    "report": {  # the label of an axis, a curve or a tile; training samples without labels
        f"report/{name}.py": {"label", "labels"}
        for name in ("comparison", "page", "tables", "text", *(f"figures/{drawn}" for drawn in DRAWN))
    },
    "export": {},
}


def words_of(source: str) -> set[str]:
    """The words in the names, texts and comments of a module; examples in docstrings may be of any task."""
    found: set[str] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT) and token.string != "class":
            text = re.sub(r"(?m)^\s*>>>(?:.+\n)+?(?=\s*(?:\n|\"\"\"|[A-Z]))", "", token.string)
            found |= {word.lower() for word in WORDS.findall(text)}
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_no_folder_that_serves_every_task_speaks_of_classification(folder):
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in (PACKAGE / folder).rglob("*.py")}
    found = {name: words_of(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    beyond = {name: words - ALLOWED[folder].get(name, set()) for name, words in found.items()}
    assert {name: words for name, words in beyond.items() if words} == {}


def test_the_words_are_found_wherever_they_stand():
    assert words_of("validation_accuracy = 1") == {"accuracy"}
    assert words_of('text = f"the {number} classes"') == {"classes"}
    assert words_of("found = 1  # its label") == {"label"}
    assert words_of("class Classes:\n    classification = 1\n") == {"classes"}
    assert words_of('"""Text.\n\n>>> accuracy = 1\n>>> accuracy\n1\n"""') == set()
