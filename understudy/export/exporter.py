"""From a run or a student's folder to a proved file."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from understudy import data as datasets
from understudy.data import Data
from understudy.errors import UserError, did_you_mean
from understudy.export.format import Format, Material
from understudy.export.proof import Proof, compare, placed, proving_part, timed
from understudy.export.versions import Surroundings, run_of, surroundings
from understudy.files import read_json, sha256, write_atomically, write_json
from understudy.measure.machine import command, machine, versions
from understudy.models import student as product
from understudy.tasks import Task

PROOFS = "proof.json"


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
) -> Exported:
    """Write a student for another runtime, prove it on real data, and keep it only if it is good enough.

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
        network: the student itself, where it is at hand; by default it is rebuilt from the folder.
    """
    format_, folder = _format(to), Path(student)
    network = product.load(folder, trust=trust) if network is None else network.eval()
    description = product.read(folder)
    around = _around(folder, network, data, trust)
    _check_data(around.data, description.task, description.input.shape, description.classes)
    path = _place(folder, format_, Path(out) if out is not None else None)
    text = (folder / product.DESCRIPTION).read_text(encoding="utf-8")
    chosen = format_.tolerance.changed(tolerance or {})
    with tempfile.TemporaryDirectory() as scratch:  # nothing is left after a failure
        written = Path(scratch) / path.name
        seen = around.student_data
        inputs = seen.example(2, torch.device("cpu"))
        facts = format_.write(Material(network, text, description.task, inputs, seen.train), written)
        opened = format_.open(written)
        part, measured_on = proving_part(around.data)
        compared = compare(network, opened.network, part, around.data.task)
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
        record = {"student": sha256(folder / product.WEIGHTS), **_record(format_, facts, proof, around.data)}
        write_atomically(path, written.read_bytes())
    proofs = path.parent / PROOFS
    write_json(proofs, (read_json(proofs) or {}) | {path.name: record})
    return Exported(path, proof, record, around.note)


def _format(name: str) -> Format:
    from understudy.export import FORMATS

    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}{did_you_mean(name, FORMATS)}")
    return FORMATS[name]


def _around(folder: Path, network: nn.Module, data: object, trust: Collection[str]) -> Surroundings:
    run = run_of(folder)
    found = surroundings(run, network, trust) if run is not None and data is None else None
    if found is not None:
        return found
    if data is None:
        raise UserError(
            f"{folder} does not say on which data its student can be proved: "
            "name them, as in --data cifar10 --root DATA (in Python data=...)"
        )
    whole = datasets.as_data(data)
    return Surroundings(whole, whole, None)


def _check_data(data: Data, task: Task, shape: tuple[int, ...], classes: tuple[str, ...]) -> None:
    if data.task.name != task.name:
        raise UserError(
            f"the student's task is {task.name!r}, and that of {data.name} is {data.task.name!r}: "
            f"name data of the same task, as in understudy.data.from_tensors(..., task={task.name!r})"
        )
    if tuple(data.shape) != tuple(shape) or len(data.classes) != len(classes):
        raise UserError(
            f"the student takes {_by(shape)} and knows {len(classes)} classes; "
            f"{data.name} holds {_by(data.shape)} and {len(data.classes)} classes"
        )


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
