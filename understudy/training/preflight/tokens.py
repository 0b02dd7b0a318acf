"""The check of tokens: which of them a network takes for padding, and methods that compare those of two networks."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from understudy.data.parts import Data
from understudy.data.sources import InMemory
from understudy.nested import Nested
from understudy.objective import Objective, evaluating
from understudy.taps import call
from understudy.tasks.words import IDS, MASK, OF, Words, tables_of
from understudy.training.preflight.findings import Finding


def taken_for_padding(network: nn.Module, inputs: Nested, data: Data) -> str | None:
    """Which token of the texts is padding to an embedding that reads them, in words; None: none is.

    A RoBERTa gives such a token no place in the text, and no embedding learns anything of it.
    """
    if not isinstance(inputs, Mapping) or not isinstance(data.task, Words):
        return None
    numbers = {name: value for name, value in inputs.items() if name.endswith(IDS) and isinstance(value, Tensor)}
    found: list[tuple[str, int]] = []

    def look(module: nn.Module, given: tuple[object, ...]) -> None:
        padding, read = module.padding_idx, given[0] if given else None
        if isinstance(padding, int) and isinstance(read, Tensor):
            found.extend((name, padding) for name, ids in numbers.items() if torch.equal(ids, read))

    hooks = [each.register_forward_pre_hook(look) for each in network.modules() if isinstance(each, nn.Embedding)]
    try:
        with torch.no_grad(), evaluating(network):
            call(network, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    source = data.train.source
    texts = source.samples if isinstance(source, InMemory) else inputs
    assert isinstance(texts, Mapping)
    for name, padding in found:
        ids, mask = texts[name], texts.get(name.removesuffix(IDS) + MASK)
        if not isinstance(ids, Tensor) or not isinstance(mask, Tensor):
            continue
        if count := int(((ids == padding) & mask.bool()).any(1).sum()):
            task = data.token_tables.get(name.rpartition(OF)[0], data.task)
            called = f" ({task.vocabulary[padding]!r})" if padding < len(task.vocabulary) else ""
            return (
                f"token {padding}{called} is padding to it (padding_idx of its embedding), and stands in {count:,} of "
                f"{len(ids):,} texts, whose padding is token {task.padding_id}: make this one the network's, of "
                f"transformers by settings = {{ pad_token_id = {task.padding_id} }}"
            )
    return None


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
