"""``assistants = "auto"``: the paper's rule of thumb, from short trainings."""

import math
from collections.abc import Callable, Mapping, Sequence

from understudy.errors import UserError
from understudy.measure import Spread
from understudy.models.sizes import Size
from understudy.paths import Edge, Rule
from understudy.paths.edges import FAILED, quality
from understudy.plans import Node
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.recipe.schema import PathTable
from understudy.runs.path_networks import PathNetworks
from understudy.training.records import TrainingRecord

Train = Callable[[Sequence[Node]], Mapping[str, TrainingRecord]]  # returns the record of each


def chosen(recipe: Recipe, names: Sequence[str], builder: Builder, train: Train) -> tuple[Recipe, list[str]]:
    """The recipe with an assistant for each of these methods, and the reasons."""
    tables, notes = dict(recipe.methods), []
    for name in names:
        path_networks = _path_networks(recipe, name, builder)
        size, reason = _chosen(path_networks, train)
        tables[name] = path_networks.best((path_networks.sizes.all[0], size, path_networks.sizes.student))
        notes.append(f"{name}: {path_networks.networks[size].network} assists, {reason}")
    return recipe.model_copy(update={"methods": tables}), notes


def trials(recipe: Recipe, name: str, builder: Builder) -> list[Node]:
    """The short trainings by which a method's assistant is chosen; none where there is only one size."""
    path_networks = _path_networks(recipe, name, builder)
    return (
        [node for nodes in _trials(path_networks).values() for node in nodes]
        if len(path_networks.sizes.assistants) > 1
        else []
    )


def _path_networks(recipe: Recipe, name: str, builder: Builder) -> PathNetworks:
    path_networks = PathNetworks(recipe.model_copy(update={"path": PathTable(method=name)}), builder, prefix=f"{name}-")
    if not path_networks.sizes.assistants:
        raise UserError(
            f"methods.{name}: no network of {recipe.student.network!r}'s family lies between student and teacher: "
            'name the assistants, as in assistants = ["plain4"]'
        )
    return path_networks


def _trials(path_networks: PathNetworks) -> dict[Edge, list[Node]]:
    """Every size alone, on a short config, one for each seed."""
    return {edge: path_networks.nodes(edge) for edge in Rule(path_networks.sizes).trials}


def _tried(path_networks: PathNetworks, train: Train) -> dict[Edge, Spread]:
    """The figures of the trials on the validation part. A size with a failed training is excluded."""
    trainings = _trials(path_networks)
    records = train([node for nodes in trainings.values() for node in nodes])
    figure = path_networks.builder.data.task.selecting
    values = {name: quality(record.selecting_value, figure) for name, record in records.items()}
    sound = {edge: nodes for edge, nodes in trainings.items() if all(node.name in values for node in nodes)}
    spreads = {edge: Spread(tuple(values[node.name] for node in nodes)) for edge, nodes in sound.items()}
    return {edge: spreads.get(edge, FAILED) for edge in trainings}


def _chosen(path_networks: PathNetworks, train: Train) -> tuple[Size, str]:
    """The assistant's size, and the reason."""
    sizes = path_networks.sizes
    if len(sizes.assistants) == 1:
        return sizes.assistants[0], "the only size between student and teacher"
    known = _tried(path_networks, train)
    figure = path_networks.builder.data.task.selecting
    means = {size: known[Edge((size,), quick=True)].mean for size in sizes.all}
    reached = {
        size: figure.text(figure.quality(mean)) if math.isfinite(mean) else "failed" for size, mean in means.items()
    }
    tried = ", ".join(f"{size}: {text}" for size, text in reached.items())
    chosen = Rule(sizes).chosen(known)
    if chosen is None:
        raise UserError(
            f"no assistant can be chosen by the rule of thumb (quick trainings: {tried}): lower the learning rate, or "
            f'name the assistants, as in assistants = ["{path_networks.networks[sizes.assistants[0]].network}"]'
        )
    return chosen, f"by the rule of thumb: quick trainings alone reach {tried} on validation"
