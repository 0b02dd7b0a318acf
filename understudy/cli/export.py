"""``understudy export``: a student for another runtime, with a proof on real data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from understudy.cli._options import JsonOption, MethodOption, StudentTrustOption, TrainingOption
from understudy.cli._shared import confirmed, err, out, print_json, student_in
from understudy.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from understudy.data import Data
    from understudy.export import Exported

FORMATS = ("onnx", "torch", "int8", "executorch")


def export(
    student: Annotated[Path, typer.Argument(help="A run folder, or a student's own.", show_default=False)],
    to: Annotated[
        str, typer.Option(help=f"One of {', '.join(FORMATS)}.", show_default=False, autocompletion=lambda: FORMATS)
    ],
    place: Annotated[
        Path | None,
        typer.Option("--out", help="A file, or a folder for it; by default beside the student.", show_default=False),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="How far it may differ: difference, agreement, loss. Repeatable."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set, folder of images or file of data to prove it on.", show_default=False),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where --data lies.", show_default=False)] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="A network by name to be timed beside, where no run names one.", show_default=False),
    ] = None,
    method: MethodOption = None,
    training: TrainingOption = None,
    broken: Annotated[
        bool, typer.Option("--broken", help="Export a student that is of no use, too: at chance, or with one answer.")
    ] = False,
    trust: StudentTrustOption = None,
    json: JsonOption = False,
) -> None:
    """Write a student for another runtime, test the file on real data, and keep it only if it passes.

    Example: understudy export runs/mine --to int8
    """
    from understudy.export import export as exported
    from understudy.shipping.card import write_card

    student = student_in(student, method, training)
    trusted = confirmed(student, trust)
    given = _data(student, data, root)
    beside = _teacher(student, teacher, trusted) if teacher is not None else None
    limits = _tolerance(tolerance or [])
    written = exported(
        student, to, out=place, data=given, teacher=beside, tolerance=limits, trust=trusted, broken=broken
    )
    notes = [written.note] if written.note else []
    try:
        write_card(student)
    except UserError as error:
        notes.append(str(error))
    if json:
        print_json({"file": str(written.path), **written.record})
    else:
        _show(written)
    for note in notes:
        err.print(note, style="yellow", markup=False, highlight=False)


def _data(student: Path, name: str | None, root: Path | None) -> "Data | None":
    from understudy import data as datasets
    from understudy.data.catalogue import at_path
    from understudy.data.images import TORCHVISION
    from understudy.models import student as product

    if name is None:
        if root is not None:
            raise UserError("--root says where --data lies: name the data set, too")
        return None
    if root is None and (found := at_path(name)) is not None:
        name, root = found, Path(name).expanduser()
    if name != "folder":
        return datasets.load(name, root)
    seen = product.read(student).input
    if len(seen.shape) != 3:
        raise UserError(f"{root} is a folder of images, and the student takes {'x'.join(map(str, seen.shape))}")
    loader = "torchvision" if seen.image == TORCHVISION else "upright"
    size, channels = seen.shape[2], seen.shape[0]
    return datasets.load(
        name, root, size=size, channels=channels, resize=seen.resize, loader=loader, decoder=seen.decoder
    )


def _teacher(student: Path, name: str, trusted: list[str]) -> "nn.Module":
    """With fresh weights, since the time does not depend on them."""
    from understudy.models import build
    from understudy.models import student as product

    described = product.read(student)
    shape = described.input.shape
    return build(name, classes=described.task.outputs, channels=shape[0], size=shape[-1], trusted=trusted)


def _tolerance(words: list[str]) -> dict[str, float]:
    limits = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            limits[key.strip()] = float(value)
        except ValueError:
            raise UserError(f"--tolerance {word!r}: write KEY=VALUE, as in agreement=0.98") from None
    return limits


def _show(written: "Exported") -> None:
    from understudy.report.format import memory, milliseconds, percent

    proof, compared = written.proof, written.proof.compared
    table = Table()
    title = compared.figure.title
    for heading in ("", title, "size", "latency", "128 samples"):  # a long title stands on several lines
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=heading != title)
    figure = {"before": compared.before, "after": compared.after}
    for key, name in (("teacher", "teacher, PyTorch"), ("before", "student, PyTorch"), ("after", written.path.name)):
        if key in proof.latency_ms:
            single, many = proof.latency_ms[key].p50, proof.throughput_ms[key].p50
            size = memory(proof.bytes[key]) if key in proof.bytes else ""
            shown = compared.figure.text(figure[key]) if key in figure else ""
            table.add_row(name, shown, size, milliseconds(single), milliseconds(many))
    out.print(table)
    speed = [f"{proof.speedup('before'):.1f} times as fast as PyTorch"]
    if (over := proof.speedup("teacher")) is not None:
        speed.append(f"{over:.1f} times as fast as the teacher")
    same = compared.agreement
    agrees = "compared with PyTorch on" if same is None else f"agrees with PyTorch on {percent(same)} of"
    out.print(
        f"{agrees} {compared.samples:,} {proof.measured_on} samples, "
        f"largest difference of a value {compared.largest_difference:.2g}; {', '.join(speed)} (median of one sample)",
        markup=False,
        highlight=False,
    )
    if warning := proof.latency_ms["after"].warning:
        out.print(warning, markup=False, highlight=False)
    out.print(f"file: {written.path}", markup=False, highlight=False, soft_wrap=True)
