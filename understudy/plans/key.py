"""The key of a training: a hash of all that determines its result, the same however it is spelled."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

import torch

from understudy import methods
from understudy.data.content import digest
from understudy.errors import UserError
from understudy.files import sha256
from understudy.models import catalogue
from understudy.plans.code import code_version
from understudy.plans.node import Given, Node
from understudy.recipe.build import Cast, stages, weights_file
from understudy.recipe.schema import NetworkTable
from understudy.settings import Settings
from understudy.stage import Stage
from understudy.taps import Pair

_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def key_of(determinants: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()


def determinants(node: Node, cast: Cast, teachers: Sequence[tuple[NetworkTable, str]]) -> dict[str, Any]:
    """All that the weights in the end are a function of, as plain data.

    Args:
        teachers: each one's network, and the key of its training or the digest of its weights.
    """
    found = stages_of(node, cast, [table for table, _ in teachers])
    networks = [node.network.network, *(table.network for table, _ in teachers)]
    return {
        "network": network(node.network, cast),
        "role": node.role,
        "seed": node.seed,
        "stages": canonical(found),
        "grafts": _grafts(node),
        "stored": _stored(node) if teachers else None,
        "data": data(node, cast),
        "teachers": [{"network": network(table, cast), "weights": of} for table, of in teachers],
        "arithmetic": arithmetic(node.arithmetic, bool(teachers)),
        "code": code_version(node.method, found, networks),
    }


def stages_of(node: Node, cast: Cast, teachers: Sequence[NetworkTable]) -> list[Stage]:
    """The method's stages; networks are made for that only where taps are to be proposed from them."""
    method = methods.find(node.method)
    if all(node.settings.get(name) is not None for name in method.needed):
        found = method(node.course, **node.settings)
    else:
        student = cast.network(node.network, node.seed, node.role)
        teacher = cast.network(teachers[0], node.seed, "teacher") if teachers else None
        found = stages(node.method, node.course, node.settings, student, teacher, cast.data)
    return [stage.balanced() for stage in found] if node.balance else found


def network(table: NetworkTable, cast: Cast) -> dict[str, Any]:
    """A network with every setting, and what stands before it."""
    shape = cast.data.shape
    name, settings = catalogue.resolved(table.network, table.settings, len(cast.data.classes), shape[0], shape[-1])
    return {"name": name, "settings": canonical(settings), "front": canonical(cast.normalisation(table))}


def weights_digest(given: Given) -> str:
    """The content of a file of weights, and which of its names are taken."""
    path = weights_file(given.weights)
    try:
        return sha256(path) + (f" {given.prefix}" if given.prefix else "")
    except OSError as error:
        raise UserError(f"no weights file {path}: {error.strerror}") from error


def arithmetic(settings: Settings, taught: bool) -> dict[str, Any]:
    """What decides how numbers are rounded."""
    found = dataclasses.asdict(settings.plain) | {
        "device": settings.torch_device.type,
        "teacher_precision": settings.of_teacher.precision,
        "threads": settings.threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": processor(settings.torch_device),
    }
    return found if taught else {name: value for name, value in found.items() if not name.startswith("teacher")}


def processor(device: torch.device) -> list[str]:
    """Which instructions there are, and where their libraries are told to leave some out: sums are ordered by them."""
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device)]
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not every torch has it
    there = [f"{name} {value}" for name, value in sorted(told.items()) if value and not name.startswith("num_")]
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    return [torch.backends.cpu.get_cpu_capability(), *there, *limits]


def data(node: Node, cast: Cast) -> dict[str, Any]:
    """Every training and validation sample by its content, whatever the folder in which it lies."""
    seen = cast.seen(node.data.student_samples)
    return {
        "samples": cast.content,
        "train": digest(seen.train.ids),
        "validation": digest(seen.validation.ids) if seen.validation else None,
        "task": seen.task.describe(),
        "whitened": cast.whitening is not None,
    }


def _grafts(node: Node) -> dict[str, Any] | None:
    """What a method changes in the student; all else that it does stands in its stages, whatever it is called."""
    method = methods.find(node.method)
    if method.grafts is None:
        return None
    own = {name: value for name, value in method.complete(node.settings).items() if value is not Parameter.empty}
    return {"method": method.name, "settings": canonical(own)}


def _stored(node: Node) -> dict[str, Any] | None:
    """Stored answers may mean fewer views and rounder numbers; where they lie changes nothing."""
    if node.stored is None:
        return None
    told = dataclasses.asdict(node.stored)
    return {name: value for name, value in told.items() if name not in ("folder", "fill")}


def canonical(value: Any) -> Any:
    """Plain data, equal where two spellings mean the same: 4 and 4.0, a list and a tuple, a pair and its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: canonical(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return str(value) if isinstance(value, Pair) else {"kind": type(value).__qualname__, **fields}
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, str) and "->" in value:
        return str(Pair.parse(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a training's description holds a {type(value).__name__}, of which no key can be made")
