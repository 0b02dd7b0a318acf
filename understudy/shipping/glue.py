"""Answers to the test part of one of GLUE's tasks, in the form in which the benchmark takes them."""

from collections.abc import Collection, Sequence
from pathlib import Path

from understudy.data.sets.glue import LARGEST_SCORE, SUBSETS, Subset, unlabelled
from understudy.errors import UserError, did_you_mean
from understudy.export.open import open_student
from understudy.files import write_atomically
from understudy.shipping.predict import Prediction, of_texts


def write_submission(
    student: str | Path, tests: Sequence[str], to: str | Path, *, batch: int = 32, trust: Collection[str] = ()
) -> int:
    """Writes ``index`` and ``prediction`` of every sample of a ``test.tsv``, and returns how many there are.

    >>> write_submission("runs/mine", ["GLUE/MRPC/test.tsv"], "MRPC.tsv")  # doctest: +SKIP

    Args:
        student: a run folder, or a file that ``understudy export`` wrote.
        tests: the test part, a single file.
        to: the file, under the name that the benchmark asks for, which says which of its tasks it is.
        batch: texts that are answered at once.
        trust: as of ``predict``.
    """
    to = Path(to)
    known = {name: subset for subset in SUBSETS.values() for name in subset.files}
    if to.name not in known:
        raise UserError(f"{to.name!r} is the name of no submission to GLUE{did_you_mean(to.name, known)}")
    subset = known[to.name]
    if len(tests) != 1:
        raise UserError(f"{to.name} answers one file, the test part of {subset.folder}; {len(tests)} are given")
    opened = open_student(Path(student), trust)
    task, names = opened.description.task, opened.description.classes
    if not task.takes_words or tuple(names) != (subset.classes or ("score",)):
        raise UserError(
            f"{student} answers with {', '.join(names)}, and {subset.folder} has "
            f"{', '.join(subset.classes) or 'a score'}: train it on the data set 'glue' with that subset"
        )
    samples = unlabelled(Path(tests[0]), subset)
    answers = of_texts(opened, task, [text for _, text in samples], 1, batch)
    lines = [f"{number}\t{_written(answer, subset)}" for (number, _), answer in zip(samples, answers, strict=True)]
    write_atomically(to, "\n".join(("index\tprediction", *lines, "")).encode())
    return len(lines)


def _written(answer: Prediction, subset: Subset) -> str:
    """An answer as GLUE's files write it."""
    if subset.classes:
        ((label, _),) = answer.classes
        return subset.written[subset.classes.index(label)]
    values = answer.record["values"]
    assert isinstance(values, dict)
    return f"{min(max(values['score'], 0.0), LARGEST_SCORE):.3f}"
