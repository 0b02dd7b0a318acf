"""The model card: ``README.md`` beside a student, in the form that the Hugging Face Hub reads."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import TypeAdapter, ValidationError

from understudy.errors import UserError
from understudy.export import FORMATS
from understudy.export.proofs import PROOFS, check_file, read_proofs
from understudy.export.versions import run_of
from understudy.files import sha256, write_atomically
from understudy.models import student as product
from understudy.models.description import Description
from understudy.plans.entry import RESULT
from understudy.printable import printable
from understudy.report import render, tables
from understudy.report.format import count, memory, plural
from understudy.report.reading import read_result
from understudy.report.render import markdown_text
from understudy.runs.records import Method, ProofRecord, Result, Row
from understudy.shipping.native import opened_by

CARD = "README.md"
_SEAL = re.compile(r"<!-- understudy card ([0-9a-f]{64})(?: of ([0-9a-f]{64}))? -->\n")  # of its text, of the weights


@dataclass(frozen=True)
class Known:
    """The data of a card: the student's description, the result of its run, the proofs of its exported files."""

    name: str
    description: Description
    bytes: int
    result: Result | None
    training: str | None  # the training that the student comes from
    proofs: dict[str, ProofRecord]

    @property
    def broken(self) -> list[str]:
        """The reasons why the student is broken, from the proofs."""
        return next((proof.broken for proof in self.proofs.values() if proof.broken), [])

    @property
    def method(self) -> tuple[str, Method, Row] | None:
        """The student's method by name, its figures over the seeds, and the student's own."""
        for name, found in self.result.methods.items() if self.result else ():
            for row in found.trainings:
                if row.training == self.training:
                    return name, found, row
        return None


def write_card(folder: Path) -> Path:
    """Write the card of a run's student, or of any student's folder. A card that was changed by hand is kept."""
    path = folder / CARD
    known = _known(folder)
    if path.exists() and not is_ours(path):
        raise UserError(f"{path} was not written by understudy, or was changed since: move it away to have a new one")
    text = _text(known)
    of = sha256(folder / product.WEIGHTS)
    write_atomically(path, f"{text}<!-- understudy card {_digest(text)} of {of} -->\n".encode())
    return path


def of_another(folder: Path) -> str | None:
    """A warning of a card that was written for other weights than those beside it, and changed by hand since."""
    seals = _SEAL.findall((folder / CARD).read_text(encoding="utf-8", errors="replace"))
    if not seals or seals[-1][1] in ("", sha256(folder / product.WEIGHTS)):
        return None
    return f"{folder / CARD} was written for another student than the one beside it: look through what it says"


def files(folder: Path) -> list[str]:
    """The files of a shipped student: its card, its weights and description, and its proved exports."""
    product.check_weights(folder, product.read(folder))
    return [CARD, product.WEIGHTS, product.DESCRIPTION, *_proofs(folder)]


def left_out(folder: Path) -> list[str]:
    """Warnings of exports without a proof and of proofs without an export."""
    known, told = _proofs(folder), read_proofs(folder)
    notes = [f"{PROOFS} speaks of {name}, which is not there" for name in told if not (folder / name).exists()]
    files = [f"student{format_.suffix}" for format_ in FORMATS.values()]
    notes += [
        f"{name} is not on the card: {PROOFS} does not say that it was made of these weights"
        for name in files
        if (folder / name).is_file() and name not in known
    ]
    if run_of(folder) == folder and not (folder / RESULT).is_file():
        notes.append(f"{folder} has no {RESULT}: the card has no figures")
    return notes


def _known(folder: Path) -> Known:
    description = product.read(folder)
    weights = folder / product.WEIGHTS
    if not weights.is_file():
        raise UserError(f"{folder} holds no student: there is no {product.WEIGHTS}")
    product.check_weights(folder, description)
    run = run_of(folder)
    result = read_result(run) if run is not None and (run / RESULT).exists() else None
    training = folder.resolve().name if run != folder else result.kept if result else None
    if result is not None and run == folder and result.digests.get(product.WEIGHTS) not in (None, sha256(weights)):
        raise UserError(f"{folder / RESULT} is not of the student beside it: run the same distill command again")
    return Known(folder.resolve().name, description, weights.stat().st_size, result, training, _proofs(folder))


def _proofs(folder: Path) -> dict[str, ProofRecord]:
    """The proofs of existing files that were made from the present weights."""
    try:
        proofs = TypeAdapter(dict[str, ProofRecord]).validate_python(read_proofs(folder))
    except ValidationError as error:
        raise UserError(f"{folder / PROOFS} is damaged: remove it, and export again") from error
    weights = sha256(folder / product.WEIGHTS)
    for name, proof in proofs.items():
        check_file(folder / name, proof.sha256)
    return {n: proof for n, proof in proofs.items() if proof.student == weights and (folder / n).is_file()}


def is_ours(path: Path) -> bool:
    """Whether a card is as it was written."""
    text = path.read_text(encoding="utf-8", errors="replace")
    seals = list(_SEAL.finditer(text))
    return bool(seals) and seals[-1].end() == len(text) and seals[-1][1] == _digest(text[: seals[-1].start()])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _front_matter(known: Known) -> dict[str, object]:
    method = known.method
    tags = ["understudy", "knowledge-distillation", *([method[0]] if method else [])]
    matter: dict[str, object] = {"library_name": "understudy", "tags": tags}
    kind = _pipeline(known.description)
    if kind:
        matter["pipeline_tag"] = kind
    if known.result is not None and method is not None:
        data, first = known.result.data, known.result.first
        name = data.name or "own data"
        results = {
            "task": {"type": kind or known.result.task.name},
            "dataset": {"type": name, "name": name, "split": data.measured_on},
            "metrics": [{"type": first.name, "name": first.title, "value": method[2].figures[first.name]}],
        }
        matter["model-index"] = [{"name": known.name, "results": [results]}]
    return matter


def _pipeline(described: Description) -> str | None:
    """What the Hub calls the task; None where it has no word for it."""
    task, rows = described.task.name, len(described.input.shape) == 1 and not described.input.tensors
    if task in _OF_TEXTS:
        return _OF_TEXTS[task]
    if described.takes_images:
        return _OF_IMAGES.get(task)
    return _OF_ROWS.get(task) if rows and described.input.dtype is None else None


_OF_TEXTS = {"text": "text-classification", "tags": "token-classification"}
_OF_IMAGES = {
    "classification": "image-classification",
    "soft-labels": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
}
_OF_ROWS = {
    "classification": "tabular-classification",
    "soft-labels": "tabular-classification",
    "regression": "tabular-regression",
}


def _text(known: Known) -> str:
    """The card without its seal."""
    described, result, method = known.description, known.result, known.method
    first = result.first if result else None
    students = None
    if result is not None and method is not None:
        students = tables.students(result).without("seeds", "training", "agreement")
    return (
        cards()
        .get_template("card.md")
        .render(
            front_matter=Markup("\n".join(_yaml(_front_matter(known)))),
            known=known,
            result=result,
            method=method,
            described=described,
            library_line=Markup(opened_by(described) or ""),
            network=_network(described),
            teacher=result.networks.get("teacher") if result else None,
            verdict=result.verdicts.get(method[0]) if result and method else None,
            broken=method[2].broken if method else known.broken,
            students=Markup(render.markdown(students)) if students else None,
            own=first.text(method[2].figures[first.name]) if first and method else "",
            first=first,
            exports=Markup(render.markdown(tables.exports(known.proofs))) if known.proofs else None,
            onnx=next((name for name in known.proofs if name.endswith(".onnx")), "FOLDER"),
            count=count,
            memory=memory,
            plural=plural,
            code=code,
            block=block,
        )
    )


@cache
def cards() -> Environment:
    """Markdown templates; values are escaped, so that they are text and never markup."""
    return Environment(
        loader=PackageLoader("understudy.report", "templates"),
        undefined=StrictUndefined,
        finalize=_finished,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _finished(value: object) -> object:
    return value if isinstance(value, Markup) else markdown_text(str(value))


def code(text: str) -> Markup:
    """A name in a line of code."""
    return Markup("`" + render.code(str(text)) + "`")


def block(text: str) -> Markup:
    """A line of a block of code."""
    return Markup(re.sub("`{3,}", "``", printable(" ".join(str(text).split()))))


def _network(described: Description) -> str:
    if described.network is None:
        return described.own_class
    return ", ".join([described.path, *(f"{key}={value}" for key, value in described.network.settings.items())])


def _yaml(value: Mapping[str, object], indent: str = "") -> Iterator[str]:
    """Tables and lists of plain values as YAML; single values are written alike in JSON."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{indent}{key}:"
            yield from _yaml(inner, indent + "  ")
        elif isinstance(inner, list):
            yield f"{indent}{key}:"
            for item in inner:
                lines = list(_yaml(item)) if isinstance(item, Mapping) else [_scalar(item)]
                yield f"{indent}- {lines[0]}"
                yield from (f"{indent}  {line}" for line in lines[1:])
        else:
            yield f"{indent}{key}: {_scalar(inner)}"


def _scalar(value: object) -> str:
    """The value in JSON, which is also YAML, with HTML characters escaped."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e")
