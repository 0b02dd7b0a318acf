"""The model card: ``README.md`` beside a student, in the form that the Hugging Face Hub reads."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from understudy.errors import UserError
from understudy.export.exporting import PROOFS
from understudy.export.surroundings import run_of
from understudy.files import sha256, write_atomically
from understudy.measure import Spread
from understudy.models import student as product
from understudy.models.description import Description
from understudy.plans.entry import RESULT
from understudy.report.reading import read
from understudy.report.record import Latency, Method, Network, Result, Row
from understudy.report.words import NONE, count, memory, milliseconds, percent, plural, spread

CARD = "README.md"
_SEAL = re.compile(r"<!-- understudy card ([0-9a-f]{64}) -->\n\Z")


class _Proof(BaseModel):
    """What the card tells of an entry of ``proof.json``."""

    student: str  # SHA-256 of the weights that were exported
    format: str
    bytes: dict[str, int]
    accuracy: dict[str, float]
    agreement: float
    latency_ms: dict[str, Latency]
    speedup: dict[str, float | None]


@dataclass(frozen=True)
class Known:
    """All that is known of a student: its description, the result of its run, the proofs of what was exported."""

    name: str
    description: Description
    bytes: int
    result: Result | None
    training: str | None  # the training that the student comes from
    proofs: dict[str, _Proof]

    @property
    def method(self) -> tuple[str, Method, Row] | None:
        """The student's method by name, its figures over the seeds, and the student's own."""
        for name, found in self.result.methods.items() if self.result else ():
            for row in found.trainings:
                if row.training == self.training:
                    return name, found, row
        return None


def write_card(folder: Path) -> Path:
    """Write the card of a run's student, or of any student's folder; one that was changed by hand is left alone."""
    path = folder / CARD
    known = _known(folder)
    if path.exists() and not _is_ours(path):
        raise UserError(f"{path} was not written by understudy, or was changed since: move it away to have a new one")
    text = "\n".join(_lines(known)) + "\n"
    write_atomically(path, f"{text}<!-- understudy card {_digest(text)} -->\n".encode())
    return path


def files(folder: Path) -> list[str]:
    """What belongs to a student that leaves: its card, itself, and whatever has been exported and proved."""
    return [CARD, product.WEIGHTS, product.DESCRIPTION, *_proofs(folder)]


def _known(folder: Path) -> Known:
    description = product.read(folder)
    weights = folder / product.WEIGHTS
    if not weights.is_file():
        raise UserError(f"{folder} holds no student: there is no {product.WEIGHTS}")
    run = run_of(folder)
    result = read(run).result if run is not None and (run / RESULT).exists() else None
    training = folder.resolve().name if run != folder else result.kept if result else None
    return Known(folder.resolve().name, description, weights.stat().st_size, result, training, _proofs(folder))


def _proofs(folder: Path) -> dict[str, _Proof]:
    """Of files that are there, and were made from the weights that are there now."""
    path = folder / PROOFS
    if not path.exists():
        return {}
    try:
        proofs = TypeAdapter(dict[str, _Proof]).validate_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged: remove it, and export again") from error
    weights = sha256(folder / product.WEIGHTS)
    return {n: proof for n, proof in proofs.items() if proof.student == weights and (folder / n).is_file()}


def _is_ours(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    seal = _SEAL.search(text)
    return seal is not None and seal[1] == _digest(text[: seal.start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(known: Known) -> Iterator[str]:
    yield "---"
    yield from _yaml(_front_matter(known))
    yield "---"
    yield ""
    yield f"# {(known.result.title if known.result else '') or known.name}"
    yield ""
    yield from _origin(known)
    for heading, part in (
        ("Figures", _figures(known)),
        ("Exported files", _exports(known)),
        ("How to use it", _use(known)),
        ("Limits", _limits(known)),
        ("Licence", iter(["Not stated yet: choose one, and name it as `license:` at the top of this file."])),
        ("How it was made", _making(known)),
    ):
        lines = list(part)
        if lines:
            yield from ["", f"## {heading}", "", *lines]


def _front_matter(known: Known) -> dict[str, Any]:
    found = known.method
    tags = ["understudy", "knowledge-distillation", *([found[0]] if found else [])]
    matter: dict[str, Any] = {"library_name": "understudy", "tags": tags}
    if known.description.takes_images:
        matter["pipeline_tag"] = "image-classification"
    if known.result is not None and found is not None and found[2].accuracy is not None:
        data = known.result.data
        name = data.name or "own data"
        matter["model-index"] = [
            {
                "name": known.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"type": name, "name": name, "split": data.measured_on},
                        "metrics": [{"type": "accuracy", "name": "accuracy", "value": found[2].accuracy}],
                    }
                ],
            }
        ]
    return matter


def _origin(known: Known) -> Iterator[str]:
    described, found = known.description, known.method
    network = _network(described)
    if known.result is None or found is None:
        yield f"`{network}`, a student of Understudy. Its run is not known here."
        return
    result, (name, method, row) = known.result, found
    teacher = result.networks.get("teacher")
    taught = f", taught by `{teacher.network}`" if teacher and method.reads_teacher else ""
    seed = f", seed {row.seed}" if row.seed is not None else ""
    data = f", on {count(result.data.train)} samples of {result.data.name}" if result.data.name else ""
    yield f"`{network}`{taught}, by the method `{name}`{seed}{data}."
    if name in result.verdicts:
        yield ""
        yield result.verdicts[name].sentence


def _figures(known: Known) -> Iterator[str]:
    if known.result is None or known.method is None:
        return
    result, (name, found, row) = known.result, known.method
    student = result.networks.get("student")
    yield "| | accuracy | parameters | multiplications | latency, 1 image |"
    yield "|---|---:|---:|---:|---:|"
    if result.teacher_spread:
        yield _row("teacher", result.teacher_spread, result.networks.get("teacher"))
    for method in result.methods:
        yield _row(f"student, {method}", result.spread_of(method), student)
    if row.accuracy is not None:
        yield _row("**this student**", Spread((row.accuracy,)), student)
    yield ""
    kept = " It was chosen among its seeds on validation." if known.training == result.kept else ""
    yield (
        f"On {count(result.data.measured)} {result.data.measured_on} samples; mean ± sample standard deviation over "
        f"{plural(len(found.trainings), 'seed')} of `{name}`.{kept}"
    )


def _row(name: str, accuracy: Spread | None, network: Network | None) -> str:
    network = network or Network()
    latency = milliseconds(network.latency_ms.p50 if network.latency_ms else None)
    cells = (name, spread(accuracy), count(network.parameters), count(network.multiplications), latency)
    return "| " + " | ".join(cells) + " |"


def _exports(known: Known) -> Iterator[str]:
    if not known.proofs:
        return
    yield "| file | format | size | accuracy | agrees with PyTorch | latency, 1 image | over the teacher |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for name, proof in known.proofs.items():
        over = proof.speedup.get("over_teacher")
        cells = (
            f"`{name}`",
            proof.format,
            memory(proof.bytes.get("after")),
            percent(proof.accuracy.get("after")),
            percent(proof.agreement),
            milliseconds(proof.latency_ms["after"].p50 if "after" in proof.latency_ms else None),
            f"{over:.1f} times as fast" if over else NONE,
        )
        yield "| " + " | ".join(cells) + " |"
    yield ""
    yield f"In PyTorch: {memory(known.bytes)}. Each was compared with PyTorch on real data before it was kept."


def _use(known: Known) -> Iterator[str]:
    described = known.description
    yield f"Input: {'x'.join(map(str, described.input.shape))}, values between 0 and 1; the normalisation is inside."
    if described.takes_images:
        yield f"Images: {described.input.image}."
    yield ""
    yield "```python"
    yield "import understudy"
    yield ""
    trust = f", trust=[{described.module!r}]" if described.module else ""
    yield f'student = understudy.load("FOLDER"{trust})  # a torch.nn.Module that answers with logits'
    yield "```"
    if described.takes_images:
        chosen = next((name for name in known.proofs if name.endswith(".onnx")), "FOLDER")
        yield ""
        yield f"```bash\nunderstudy predict {chosen} photo.jpg\n```"


def _limits(known: Known) -> Iterator[str]:
    classes = known.description.classes
    shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
    yield f"It knows {len(classes)} classes and names one of them whatever it is shown: {shown}."
    if known.result is not None:
        yield ""
        yield (
            f"Measured on {known.result.data.name or 'the data of its run'} alone: other images than these may be "
            "recognised less well, and nothing was measured of fairness or of robustness."
        )


def _making(known: Known) -> Iterator[str]:
    result = known.result
    if result is None or not result.command:
        return
    yield f"```bash\n{result.command}\n```"
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    machine = result.machine.get("processor") or result.machine.get("system", "")
    yield f"{versions}; {machine}, threads: {result.machine.get('threads', NONE)}."


def _network(described: Description) -> str:
    if described.network is None:
        return described.own_class
    return ", ".join([described.path, *(f"{key}={value}" for key, value in described.network.settings.items())])


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Tables and lists of plain values as YAML; single values are written alike in JSON."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(inner, indent + "  ")
        elif isinstance(inner, list):
            yield f"{indent}{key}:"
            for item in inner:
                lines = list(_yaml(item)) if isinstance(item, Mapping) else [json.dumps(item)]
                yield f"{indent}- {lines[0]}"
                yield from (f"{indent}  {line}" for line in lines[1:])
        else:
            yield f"{indent}{key}: {json.dumps(inner)}"
