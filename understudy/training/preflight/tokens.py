"""The check of methods that compare hidden values of tokens, where teacher and student read tokens of their own."""

from collections.abc import Iterator

import torch

from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.tasks.words import tables_of
from understudy.training.preflight.findings import Finding


def misaligned(subject: str, objective: Objective, inputs: Nested) -> Iterator[Finding]:
    """Warn of terms that read hidden values of tokens in both networks, of which the n-th is another word in each."""
    reads = objective.terms.reads
    tables = tables_of(inputs)
    if not tables or not reads.teacher_taps or not reads.student_taps:
        return
    with torch.no_grad(), evaluating(objective.student):
        student, (teacher, *_) = objective.answer(inputs), objective.ask(inputs)
    for name, part in objective.parts.items():
        own, its = part.term.reads.student_taps, part.term.reads.teacher_taps
        if any(student[tap].ndim == 3 for tap in own) and any(teacher[tap].ndim == 3 for tap in its):
            text = (
                "it may compare token by token, and the networks may read tokens of their own (token_tables "
                f"{', '.join(sorted(tables))}): the n-th token of one is another word of the other. Tap values with "
                "one vector for each text, or let both read one table"
            )
            yield Finding("warning", f"{subject}, term {name!r}", text)
