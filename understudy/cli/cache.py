"""``understudy cache``: list, check and prune finished trainings that other runs may reuse."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.table import Table

from understudy.bounds import LARGEST
from understudy.cli._bounds import not_nan
from understudy.cli._options import CACHE_VARIABLE, JsonOption
from understudy.cli._shared import out, print_json
from understudy.errors import UserError

if TYPE_CHECKING:
    from understudy.plans import TrainingCache
    from understudy.plans.cache import Entry

app = typer.Typer(no_args_is_help=True, add_completion=False)
StoreOption = Annotated[
    Path | None, typer.Option("--cache", envvar=CACHE_VARIABLE, help="The cache's folder.", show_default=False)
]
DAY = 86_400


class Row(NamedTuple):
    """A row of the list."""

    key: str
    training: str
    network: str | None
    method: str | None
    seed: int | None
    data: str | None
    figure: str | None  # the first figure of its task
    validation: float | None  # its value
    bytes: int
    days_unused: float


@app.callback()
def cache() -> None:
    """List, check and prune a cache: a folder of finished trainings, each under the key of what determines its result.

    Example: understudy cache list --cache ~/understudy-cache
    """


@app.command("list")
def list_(path: StoreOption = None, json: JsonOption = False) -> None:
    """Every finished training: its key, network, method, first figure on validation, size and days without use.

    Example: understudy cache list --cache runs/cache --json
    """
    rows = [_row(entry) for entry in _opened(path).entries()]
    if json:
        print_json([row._asdict() for row in rows])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))  # so that a row fits a terminal of 80 columns
    for column in ("key", "training", "what", "validation", "size", "unused"):
        table.add_column(column, no_wrap=column not in ("training", "what"), overflow="fold")
    for row in rows:
        validation = "" if row.validation is None else f"{row.validation:.4g}"
        what = f"{row.network} by {row.method}" if row.network else ""
        size, unused = f"{row.bytes / 1e6:.1f} MB", f"{row.days_unused:.0f} d"
        table.add_row(row.key[:10], row.training, what, validation, size, unused)
    out.print(table)


@app.command()
def check(path: StoreOption = None, json: JsonOption = False) -> None:
    """Compare every file with its digest and name the damaged ones. A run trains those entries again.

    Files in nodes/ that belong to no training are also listed. They are neither read nor removed.

    Example: understudy cache check --cache runs/cache
    """
    from understudy.report.format import plural

    opened = _opened(path)
    damaged, strays, entries = opened.check(), opened.strays(), len(list(opened.entries()))
    if json:
        print_json({"entries": entries, "damaged": damaged, "strays": strays})
    else:
        for key, files in damaged.items():
            out.print(f"damaged: {key} ({', '.join(files)})", style="red", markup=False, highlight=False)
        for name in strays:
            out.print(f"no training, and left out: nodes/{name}", style="yellow", markup=False, highlight=False)
        out.print(f"{plural(entries, 'training')}, {len(damaged)} damaged", highlight=False)
    if damaged:
        raise typer.Exit(1)


@app.command()
def prune(
    path: StoreOption = None,
    days: Annotated[
        float | None,
        typer.Option(
            min=0, max=LARGEST, callback=not_nan, help="Remove what was not used for so long, too.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove damaged and incomplete entries, and with --days those that no run used for so long.

    Example: understudy cache prune --cache runs/cache --days 90
    """
    opened = _opened(path)
    removed = opened.prune(None if days is None else days * DAY, dry_run=dry_run)
    if json:
        print_json({"removed": removed})
        return
    for name in removed:
        out.print(f"{'would remove' if dry_run else 'removed'}: {name}", markup=False, highlight=False)
    out.print(f"{len(removed)} removed" if not dry_run else f"{len(removed)} to remove", highlight=False)


def _opened(path: Path | None) -> "TrainingCache":
    from understudy.plans import TrainingCache

    if path is None:
        raise UserError(f"name the cache, by --cache or by the environment's {CACHE_VARIABLE}")
    if not path.expanduser().is_dir():
        raise UserError(f"there is no cache {path}: a run with --cache makes it")
    return TrainingCache(path.expanduser())


def _row(entry: "Entry") -> Row:
    from pydantic import ValidationError

    from understudy.plans import Node

    record = entry.record
    try:
        node = Node.model_validate(record.node) if record else None
    except ValidationError:  # of an earlier version
        node = None
    return Row(
        key=entry.key,
        training=record.training if record else "damaged",
        network=node.network.network if node else None,
        method=str(node.method) if node else None,
        seed=node.seed if node else None,
        data=node.data.name if node else None,
        figure=next(iter(record.validation), None) if record and record.selecting_value is not None else None,
        validation=record.selecting_value if record else None,
        bytes=entry.bytes,
        days_unused=round((time.time() - entry.used) / DAY, 2),
    )
