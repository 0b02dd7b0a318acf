"""``understudy taps``: the modules of a network that can be tapped, and pairs for hints."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from understudy.cli._options import JsonOption, TrustOption
from understudy.cli._shared import out, print_json
from understudy.errors import UserError

if TYPE_CHECKING:
    import torch

    from understudy.taps.proposals import Proposal
    from understudy.taps.tracing import Traced


def taps(
    model: Annotated[str, typer.Argument(help="A network by name: resnet20, timm:resnet18, mymodule:make ...")],
    student: Annotated[str | None, typer.Option(help="Propose hint pairs for this student.")] = None,
    shape: Annotated[str, typer.Option(help="Of one input: channels x height x width.")] = "3x32x32",
    classes: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many classes the network tells apart.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Every module, not only the last of each resolution.")] = False,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """List the taps of a network with shape, resolution and depth, and propose pairs for hints.

    Example: understudy taps resnet56 --student resnet20
    """
    import torch

    from understudy.taps.proposals import propose
    from understudy.taps.stages import stages, the_row

    example = torch.zeros(2, *_shape(shape))
    traced = _traced(model, example, classes, trust or [])
    listed = traced if every else sorted({*stages(traced), *the_row(traced)}, key=lambda t: t.ended)
    proposals = propose(traced, _traced(student, example, classes, trust or [])) if student else []
    if json:
        print_json({"taps": [asdict(t) for t in listed], "pairs": [_plain(p) for p in proposals]})
        return
    out.print(_table(model, listed))
    if student:
        out.print(_pairs(proposals))
    elif not every:
        out.print("the last tap of every resolution, and blocks of one size; --all lists every module", style="dim")


def _traced(name: str, example: "torch.Tensor", classes: int, trust: list[str]) -> "list[Traced]":
    from understudy.models import build
    from understudy.taps.tracing import trace

    network = build(name, classes=classes, channels=example.shape[1], size=example.shape[-1], trusted=trust)
    try:
        return trace(network, example)
    except UserError:
        raise
    except Exception as error:  # a user's network may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        shape = "x".join(map(str, example.shape[1:]))
        raise UserError(f"{name} does not take inputs of {shape} (--shape): {reason}") from error


def _shape(text: str) -> list[int]:
    parts = text.lower().split("x")
    if not all(part.isdecimal() and len(part) < 7 and int(part) > 0 for part in parts) or len(parts) != 3:
        raise typer.BadParameter(f"{text!r}: write channels x height x width, as in 3x32x32", param_hint="--shape")
    return [int(part) for part in parts]


def _table(name: str, traced: "list[Traced]") -> Table:
    table = Table(title=f"taps of {name}", title_justify="left")
    for heading in ("tap", "module", "shape", "depth", ""):
        table.add_column(heading)
    for t in traced:
        shape = " x ".join(map(str, t.shape))
        table.add_row(str(t.tap), t.type, shape, f"{t.depth:.0%}" if t.fired else "", t.problem or "")
    return table


def _pairs(proposals: "list[Proposal]") -> Table:
    table = Table(title="pairs for hints, the best first", title_justify="left")
    for heading in ("pair", "why", "regressor"):
        table.add_column(heading)
    for p in proposals:
        table.add_row(str(p.pair), p.reason, p.regressor)
    return table


def _plain(proposal: "Proposal") -> dict[str, object]:
    return {"pair": str(proposal.pair), "reason": proposal.reason, "regressor": proposal.regressor}
