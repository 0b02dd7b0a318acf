"""Shell completion of methods, settings, families and taps. Only the last two import PyTorch."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from understudy.methods.listing import listed
from understudy.plugins import METHODS, registered

if TYPE_CHECKING:
    from understudy.taps.tracing import Traced

PAIRS = (".pair", ".pairs")  # settings of methods that name taps of teacher and student


def method_names(incomplete: str) -> list[tuple[str, str]]:
    """The methods whose names begin with ``text``. Methods of this package have their summary.

    >>> [name for name, _ in method_names("fit")]
    ['fitnets', 'fitnets-joint']
    """
    summaries = {method.name: method.summary.replace("``", "") for method in listed()}
    names = summaries | {name: "" for name in registered(METHODS) if name not in summaries}
    return [(name, summary) for name, summary in names.items() if name.startswith(incomplete)]


def family_names(incomplete: str) -> list[tuple[str, str]]:
    """The families with a list of sizes whose names begin with ``text``, for ``--family``.

    >>> family_names("wr")
    [('wrn', 'wide ResNet of depth 6n+4: wrn-16-2, wrn-40-10, ...')]
    """
    from understudy.models.families import FAMILIES

    whole = [family for family in FAMILIES.values() if family.sizes and family.sized.endswith("<size>")]
    names = {family.begins.rstrip("-"): family.about for family in whole}
    return [(name, about) for name, about in names.items() if name.startswith(incomplete)]


def completed_change(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """For ``--set``: methods after ``methods.``, and pairs of taps after ``methods.NAME.pair=``."""
    key, equals, value = incomplete.partition("=")
    prefix = "methods."
    if not equals and key.startswith(prefix):
        return [(f"{prefix}{name}", summary) for name, summary in method_names(key.removeprefix(prefix))]
    if not equals or not key.startswith(prefix) or not key.endswith(PAIRS):
        return []
    try:
        pairs = pairs_of(**_networks(ctx.params))
    except Exception:  # an unfinished command line names no networks yet
        return []
    return [(f"{key}={pair}", why) for pair, why in pairs if pair.startswith(value.strip("'\""))]


def pairs_of(teacher: Mapping[str, object], student: Mapping[str, object]) -> list[tuple[str, str]]:
    """The pairs of taps that are proposed for two networks, each with its reason.

    >>> pairs_of({"network": "resnet8"}, {"network": "resnet8"})[0][0]
    'layer2 -> layer2'
    """
    import torch

    from understudy.models.catalogue import NetworkSpec
    from understudy.taps.proposals import propose
    from understudy.taps.tracing import trace

    def traced(table: Mapping[str, object]) -> "list[Traced]":
        settings = table.get("settings")
        given = dict(settings) if isinstance(settings, Mapping) else {}
        channels = int(str(given.get("channels", 3)))
        network = NetworkSpec(str(table["network"]), given).build(10, channels, 32)
        return trace(network, torch.zeros(2, channels, 32, 32))

    return [(str(proposal.pair), proposal.reason) for proposal in propose(traced(teacher), traced(student))]


def _networks(given: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Teacher and student of the command line so far: from its recipe or from its options."""
    path, named = given.get("recipe"), {role: given.get(role) for role in ("teacher", "student")}
    if path is None:
        return {role: {"network": name} for role, name in named.items()}
    recipe = tomllib.loads(Path(str(path)).read_text(encoding="utf-8"))
    return {role: recipe[role] for role in named}
