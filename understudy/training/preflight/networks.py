"""The check of a network: it takes the samples, and its answers have the form of the task."""

from collections.abc import Iterator

import torch
from torch import nn

from understudy import nested
from understudy.config.settings import Settings
from understudy.data.parts import Data
from understudy.errors import UserError
from understudy.models import Output, OwnTokens
from understudy.models.backbone import has_fresh_statistics
from understudy.objective import evaluating
from understudy.taps import call, inner, layers
from understudy.tasks.classification import remark_on_probabilities
from understudy.tasks.words import tables_of
from understudy.training.preflight.findings import ABOUT_ANSWERS, ABOUT_INPUTS, Finding
from understudy.training.preflight.tokens import taken_for_padding


def misfit(network: nn.Module, data: Data, settings: Settings) -> str | None:
    """Why a network's answers are none to the task: other classes than the data's, or a head that is not there."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    example = nested.moved(settings.prepare(data.example(2, settings.torch_device)), device)
    try:
        with torch.no_grad(), evaluating(network):
            return data.task.misfit(data.task.answer(call(network, example)))
    except UserError as error:
        return str(error)


def check_network(
    role: str, network: nn.Module, data: Data, settings: Settings, *, teaches: bool = False
) -> Iterator[Finding]:
    """Check that the network accepts the samples and that its answers have the form of the task.

    Args:
        teaches: whether it only teaches: methods may then read its hidden values alone.
    """
    example = settings.prepare(data.example(2, settings.torch_device))
    try:
        with torch.no_grad(), evaluating(settings.place(network)):
            answer = data.task.answer(call(network, example))
    except Exception as error:  # a user's network may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if tables_of(example) and not any(isinstance(layer, OwnTokens) for layer in layers(network)):
            reason += ". The data have several token tables: say which one it reads, with understudy.models.OwnTokens"
        yield Finding("error", role, f"it does not take samples of shape {nested.shape_of(example)}: {reason}")
        return
    first = next(iter(answer.values()))
    asked, got = nested.count(example), len(first)
    wrong = data.task.misfit(answer) if got == asked else f"it answers {asked} samples with {got} values"
    if wrong and (got != asked or not teaches):
        yield Finding("error", role, wrong)
        return
    if wrong:
        yield Finding("warning", role, f"{wrong}: it can teach by its hidden values alone, and has no figures")
    if not wrong and (told := remark_on_probabilities(answer)):
        yield Finding("warning", f"{role}{ABOUT_ANSWERS}", told)
    if told := taken_for_padding(network, example, data):
        yield Finding("warning", f"{role}{ABOUT_INPUTS}", told)
    body = getattr(inner(network), "backbone", None)
    held = not teaches and getattr(inner(network), "statistics_held", False)
    if held and isinstance(body, nn.Module) and has_fresh_statistics(body):
        text = "keep_statistics: its backbone has fresh weights, which have no statistics to keep"
        yield Finding("error", role, f"{text}: begin with those of a classifier, or leave it out")
    around = [layer for layer in layers(network) if getattr(layer, "is_preprocessing_of", False)]
    before = "".join(
        f", its answer is {layer.extra_repr()}"
        if isinstance(layer, Output)
        else f", inputs pass {type(layer).__name__}({layer.extra_repr()}) first"
        for layer in around
    )
    parameters = sum(p.numel() for p in network.parameters())
    yield Finding("ok", role, f"{type(inner(network)).__name__}, {parameters:,} parameters{before}")
