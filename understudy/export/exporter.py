"""From a run or a student's folder to a proved file."""

import copy
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from understudy import data as datasets
from understudy.data import Data
from understudy.errors import UserError, did_you_mean
from understudy.export.format import Format, Material
from understudy.export.proof import Proof, answers_of, compare, placed, proving_part, timed, useless
from understudy.export.proofs import add_proof
from understudy.export.versions import Surroundings, run_of, surroundings
from understudy.files import remove_leftovers, sha256, write_atomically
from understudy.measure.machine import command, machine, versions
from understudy.models import student as product
from understudy.tasks import Task
from understudy.tasks.words import of_table


@dataclass(frozen=True)
class Exported:
    """A file that was proved, and ``record``, the content of ``proof.json`` beside it."""

    path: Path
    proof: Proof
    record: dict[str, object]
    note: str | None = None


def export(
    student: str | Path,
    to: str,
    *,
    out: str | Path | None = None,
    data: object = None,
    teacher: nn.Module | None = None,
    tolerance: Mapping[str, float] | None = None,
    trust: Collection[str] = (),
    seconds: float = 2.0,
    network: nn.Module | None = None,
    broken: bool = False,
) -> Exported:
    """Write a student for another runtime, test the file on real data, and keep it only if it passes.

    >>> exported = export("runs/mine", "int8")  # doctest: +SKIP
    >>> exported.path, exported.proof.compared.agreement  # doctest: +SKIP

    Args:
        student: a run folder, or any other with ``student.safetensors`` and ``student.json``.
        to: ``"onnx"``, ``"torch"``, ``"int8"`` or ``"executorch"``.
        out: a file, or a folder for it; by default beside the student.
        data: what to prove it on (its test part, or validation), as ``understudy.distill`` takes data. By default the
            run's own.
        teacher: a network to be timed beside; by default the run's own.
        tolerance: ``difference``, ``agreement`` and ``loss``, where they differ from the format's own.
        trust: modules of the user whose code may run to rebuild the student.
        seconds: for each of the two measurements of time.
        network: the student itself, where it is at hand and has the weights of the folder; by default it is rebuilt
            from the folder. It is not changed, and may be on a GPU.
        broken: export a student that is of no use, too: one at chance, with one answer for everything, or whose
            answers have huge values or no numbers.
    """
    format_, folder = _format(to), Path(student)
    description = product.read(folder)
    product.check_weights(folder, description)
    network = product.load(folder, trust=trust) if network is None else _saved(network, folder)
    around = _around(folder, network, data, trust)
    _check_data(around.data, description.task, description.input.shape)
    other_names = _other_names(around.data, description.task)
    path = _place(folder, format_, Path(out) if out is not None else None)
    remove_leftovers(path.parent, below=False)
    text = (folder / product.DESCRIPTION).read_text(encoding="utf-8")
    chosen = format_.tolerance.changed(tolerance or {})
    part, measured_on = proving_part(around.data)
    expected = answers_of(network, part, around.data.task)
    reasons = useless(expected, part, around.data.task)
    if reasons and not broken:
        raise UserError(
            f"the student in {folder} is of no use, and was not exported: {'; '.join(reasons)} ({measured_on} part of "
            f"{around.data.name}). To export it all the same, add --broken (in Python broken=True)"
        )
    with tempfile.TemporaryDirectory() as scratch:  # nothing is left after a failure
        written = Path(scratch) / path.name
        seen = around.student_data
        inputs = seen.example(2, torch.device("cpu"))
        inputs = of_table(inputs) if isinstance(inputs, Mapping) else inputs
        facts = format_.write(Material(network, text, description.task, inputs, seen.train), written)
        opened = format_.open(written)
        compared = compare(network, expected, opened.network, part, around.data.task)
        beyond = compared.beyond(chosen)
        if beyond:
            raise UserError(f"{path.name} is not good enough, and was not kept: {beyond}")
        networks = {"before": placed(network), "after": opened.network}
        taught_by = teacher if teacher is not None else around.teacher
        if taught_by is not None:
            networks["teacher"] = placed(taught_by)
        single, many = timed(networks, around.data, seconds)
        sizes = {"before": (folder / product.WEIGHTS).stat().st_size, "after": written.stat().st_size}
        proof = Proof(compared, measured_on, sizes, single, many, chosen)
        known = {"student": sha256(folder / product.WEIGHTS), "sha256": sha256(written)}
        record = known | _record(format_, facts, proof, around.data) | ({"broken": reasons} if reasons else {})
        write_atomically(path, written.read_bytes())
    notes = [around.note, other_names, add_proof(path.parent, path.name, record)]
    return Exported(path, proof, record, "; ".join(filter(None, notes)) or None)


def _format(name: str) -> Format:
    from understudy.export import FORMATS

    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def _saved(network: nn.Module, folder: Path) -> nn.Module:
    """A copy of the student on the CPU; a ``UserError`` if its weights are not those of the folder."""
    copied = copy.deepcopy(network).cpu().eval()
    state = copied.state_dict()
    for name, saved in safetensors.torch.load_file(folder / product.WEIGHTS).items():
        if name in state and not torch.allclose(state[name].double(), saved.double(), 0, 0, equal_nan=True):
            raise UserError(
                f"the student was changed since it was saved in {folder} ({name} differs), and the records there are "
                f"not of it. To export what is saved, call understudy.export.export({str(folder)!r}, ...)"
            )
    return copied


def _around(folder: Path, network: nn.Module, data: object, trust: Collection[str]) -> Surroundings:
    run = run_of(folder)
    context = surroundings(run, network, trust) if run is not None and data is None else None
    if context is not None:
        return context
    if data is None:
        raise UserError(
            f"{folder} does not say on which data its student can be proved: "
            "name them, as in --data photos/ or --data cifar10 (in Python data=...)"
        )
    whole = datasets.as_data(data)
    return Surroundings(whole, whole, None)


def _check_data(data: Data, task: Task, shape: tuple[int, ...]) -> None:
    if data.task.name != task.name:
        raise UserError(
            f"the student's task is {task.name!r}, and that of {data.name} is {data.task.name!r}: "
            f"name data of the same task, as in understudy.data.from_tensors(..., task={task.name!r})"
        )
    if tuple(data.shape) != tuple(shape) or data.task.outputs != task.outputs:
        raise UserError(
            f"the student takes {_by(shape)} and has {task.outputs} outputs; "
            f"{data.name} holds {_by(data.shape)}, and its task has {data.task.outputs} outputs"
        )


def _other_names(data: Data, task: Task) -> str | None:
    """Names of outputs by which data differ from the student; a ``UserError`` if they are the same in another order."""
    ours, theirs = task.names, data.task.names
    numbers = tuple(map(str, range(len(ours))))
    if ours == theirs or numbers in (ours, theirs):  # not named
        return None
    places = {name: place for place, name in enumerate(theirs)}
    for place, name in enumerate(ours):
        if places.get(name, place) != place:
            raise UserError(
                f"{name!r} is output {place} of the student and {places[name]} of {data.name}: name data whose outputs "
                "are in the order of the student's"
            )
    pairs = [f"{own!r} is {other!r}" for own, other in zip(ours, theirs, strict=True) if own != other]
    return f"{data.name} names other outputs than the student: {', '.join(pairs[:5])}" + (", ..." * (len(pairs) > 5))


def _place(folder: Path, format_: Format, out: Path | None) -> Path:
    name = f"student{format_.suffix}"
    if out is None:
        return folder / name
    if out.is_dir() or not out.suffix:
        return out / name
    if not out.name.endswith(format_.suffix):
        raise UserError(f"{out}: a file for {format_.name} ends in {format_.suffix}, as in {out.stem}{format_.suffix}")
    return out


def _record(format_: Format, facts: dict[str, object], proof: Proof, data: Data) -> dict[str, object]:
    return {
        "format": format_.name,
        "facts": facts,
        "data": data.name,
        **proof.as_dict(),
        "command": command(),
        "versions": versions() | {package: version(package) for package in format_.packages},
        "machine": machine(),
    }


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
