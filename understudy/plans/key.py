"""The key of a training: a hash of all that determines its result, independent of spelling."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from inspect import Parameter

import torch
from pydantic import JsonValue

from understudy import methods
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.content import digest
from understudy.errors import UserError
from understudy.files import sha256
from understudy.models import LocalContrast, catalogue
from understudy.plans.node import Node
from understudy.plans.own_code import code_of, source_of
from understudy.ranks import processes
from understudy.recipe.build import Builder, weights_file
from understudy.recipe.objects import is_object
from understudy.recipe.schema import NetworkTable
from understudy.taps import Pair

# The version of what a training computes. It is a part of every key: raise it whenever a change of this package changes
# the numbers that come out of a training, so that stored trainings of before are not taken for those of now. The golden
# values in tests/plans/test_numerics.py show when that is due.
NUMERICS = 1

_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")


def key_of(determinants: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()


def determinants(
    node: Node,
    builder: Builder,
    teachers: Sequence[tuple[NetworkTable, str]],
    stages: Sequence[Stage],
    *,
    start: str | None = None,
) -> dict[str, object]:
    """All that determines the final weights, as plain data.

    Args:
        teachers: each one's network, and the key of its training or the digest of its weights.
        stages: those of the node.
        start: the key of the training or the digest of the weights whose layers the network starts from.
    """
    ends = {"ends": list(node.ends)} if node.ends else {}
    begins = {"start": {"layers": canonical(node.start.layers), "weights": start}} if node.start else {}
    return {
        "numerics": NUMERICS,
        "network": network(node.network, builder, node),
        "role": node.role,
        "seed": node.seed,
        **begins,
        **ends,
        "stages": canonical(list(stages)),
        "grafts": _grafts(node),
        "stored": _stored(node) if teachers else None,
        "data": data(node, builder),
        "teachers": [{"network": network(table, builder), "weights": of} for table, of in teachers],
        "arithmetic": arithmetic(node.arithmetic, bool(teachers)),
        "code": own_code(node, stages),
    }


def own_code(node: Node, stages: Sequence[Stage]) -> dict[str, str]:
    """The code outside this package from which terms and methods come, each module by the hashes of its files.

    The version of a package is not enough: during development the code changes, and its version does not.
    """
    method = methods.find(node.method)
    things: list[object] = [thing for thing in (method.stages, method.grafts) if thing is not None]
    for part in (part for stage in stages for part in stage.objective.parts):
        things += [type(thing) for thing in (part.term, part.schedule) if thing is not None]
    return code_of(things, versions=False)


def network(table: NetworkTable, builder: Builder, node: Node | None = None) -> dict[str, object]:
    """A network with every setting, its input normalisation, and the user's own code.

    Args:
        node: the training whose student it is; an object then counts with its initial weights.
    """
    if is_object(table.network):
        given = builder.objects[table.network]
        state = given.weights(node.seed, node.role) if node else None
        return {"class": given.facts(), "begins": state, "code": code_of(given.kinds())}
    shape, spec = builder.shape(table), builder.named(table)
    name, settings = catalogue.resolved(spec.name, spec.settings, builder.data.task.outputs, shape[0], shape[-1])
    begins = {"begins": weights_digest(table, builder)} if node and table.begins_trained else {}
    return {
        "name": name,
        "settings": canonical(settings),
        "front": canonical(builder.normalisation(table)),
        "code": source_of(table.library_network),
        **({"output": table.output} if table.output is not None else {}),
        **({"token_table": table.token_table} if builder.data.token_tables else {}),
        **begins,
    }


def weights_digest(table: NetworkTable, builder: Builder) -> str:
    """The content of the weights with which a network begins: of a file, and which of its names are taken."""
    if is_object(table.network):
        return table.weights or ""
    if table.weights is None:
        return builder.library_digest(table)
    path = weights_file(table.weights)
    try:
        return sha256(path) + (f" {table.prefix}" if table.prefix else "")
    except OSError as error:
        raise UserError(f"no weights file {path}: {error.strerror}") from error


def arithmetic(settings: Settings, taught: bool) -> dict[str, object]:
    """The settings that influence rounding."""
    parts = dataclasses.asdict(settings) | {
        "device": settings.torch_device.type,
        "teacher_precision": settings.of_teacher.precision,
        "threads": settings.threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": processor(settings.torch_device),
    }
    ranks = max(processes(), parts.pop("ranks"))
    if ranks > 1:
        parts["processes"] = ranks
    elif settings.microbatch is None:
        del parts["batch_norm"]
    for name, sharded in (("parallel", settings.parallel == "fsdp"), ("teacher_shard", settings.teacher_shard)):
        if ranks == 1 or not sharded:
            del parts[name]
    if settings.microbatch is None:
        del parts["microbatch"]
    accelerated = settings.torch_device.type == "cuda"
    for name, usual in (("exact", settings.exact), ("tf32", settings.tf32 is None)):
        if usual or not accelerated:
            del parts[name]
    return parts if taught else {name: value for name, value in parts.items() if not name.startswith("teacher")}


def processor(device: torch.device) -> list[str]:
    """The instruction sets in use, which determine the order of sums, and the variables that restrict them."""
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device)]
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not every torch has it
    names = [f"{name} {value}" for name, value in sorted(capabilities.items()) if value and not name.startswith("num_")]
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    return [torch.backends.cpu.get_cpu_capability(), *names, *limits]


def data(node: Node, builder: Builder) -> dict[str, object]:
    """A digest of the content of all training and validation samples, independent of their folder.

    Without labels, the teachers whose answers are the targets of the validation part count, too: these select an epoch.
    """
    seen = builder.seen(node.data)
    of = [(network(table, builder), weights_digest(table, builder)) for table in node.data.answered_by or ()]
    further: dict[str, object] = {}
    if of:
        further["answered_by"] = [{"network": own, "weights": weights} for own, weights in of]
    if node.data.unlabelled is not None:
        further["unlabelled"] = builder.unlabelled_content(node.data)
    return {
        "samples": builder.content,
        "train": digest(seen.train.ids),
        "validation": digest(seen.validation.ids) if seen.validation else None,
        "task": seen.task.describe(),
        "whitened": "local" if isinstance(builder.whitening, LocalContrast) else builder.whitening is not None,
        **further,
    }


def _grafts(node: Node) -> dict[str, object] | None:
    """What a method changes in the student. All else that it does is described by its stages, not by its name."""
    method = methods.find(node.method)
    if method.grafts is None:
        return None
    chosen = {name: value for name, value in method.complete(node.settings).items() if value is not Parameter.empty}
    return {"method": method.name, "settings": canonical(chosen)}


def _stored(node: Node) -> dict[str, object] | None:
    """Stored answers may change views and precision. Their folder has no influence."""
    if node.answers is None:
        return None
    options = dataclasses.asdict(node.answers)
    without = ("folder", "fill", "views" if options["clean"] else "clean")  # keys of before know no clean answers
    usual = {"logits": "exact", "packed": False}  # which keys of before do not know
    kept = {name: value for name, value in options.items() if name not in without}
    return {name: value for name, value in kept.items() if name not in usual or value != usual[name]}


def canonical(value: object) -> JsonValue:
    """Plain data, equal where two spellings mean the same: 4 and 4.0, a list and a tuple, a pair and its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        # None counts as absent, so that a new optional setting does not change existing keys.
        fields = {name: canonical(item) for name, item in members.items() if item is not None}
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
