"""Networks and data that a caller passes as objects, under the names that plans use for them.

A plan is plain data. A network of a call of ``understudy.distill`` stands in it as ``object:student``, and ``Objects``
holds what that name means, in this process and in workers.
"""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from understudy import randomness
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Data
from understudy.data.sources import Source
from understudy.errors import UserError
from understudy.methods import Method
from understudy.methods.shared.copies import fresh
from understudy.models.catalogue import NetworkSpec
from understudy.models.fingerprints import brief, of_layers, of_network
from understudy.models.output import Output, OutputChoice
from understudy.models.sizes import recognised
from understudy.models.weights import restore
from understudy.objective.term import Expression, as_sum
from understudy.taps import inner

OBJECT = "object:"


def is_object(name: str) -> bool:
    """Whether a name in a plan refers to an object.

    >>> is_object("object:student"), is_object("resnet8")
    (True, False)
    """
    return name.startswith(OBJECT)


@dataclass
class GivenNetwork:
    """A network that was passed as a module, or as a function without arguments that makes one.

    Args:
        called: its role, as in ``"student"``.
        module: the module; None where a function makes it.
        make: the function; called anew for each seed, with PyTorch's generator seeded.
        in_place: the training whose network is the module itself; every other one gets a copy.
        taught: whether its weights are trained already, as those of a teacher. A training here begins with fresh ones.
        output: which tensor is the answer, of a network that returns several; None: the obvious one.
    """

    called: str
    module: nn.Module | None = None
    make: Callable[[], nn.Module] | None = None
    in_place: str | None = None
    taught: bool = False
    output: OutputChoice | None = None
    _template: nn.Module | None = field(default=None, repr=False)
    _known: dict[tuple[int, str], str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, called: str, given: "nn.Module | Callable[[], nn.Module]", *, taught: bool = False) -> "GivenNetwork":
        if isinstance(given, nn.Module):
            return cls(called, module=given, taught=taught)
        if not callable(given):
            raise UserError(
                f"{called}: give a module, the name of a network, or a function that makes one, not a "
                f"{type(given).__name__}"
            )
        if needed := _needed(given):
            raise UserError(
                f"{called}: a function that makes a network is called without arguments, and this one needs "
                f"{', '.join(needed)}: give a module, or a function such as lambda: MyNetwork(...)"
            )
        return cls(called, make=given)

    @property
    def name(self) -> str:
        return f"{OBJECT}{self.called}"

    def answer_with(self, output: OutputChoice) -> None:
        """Take this tensor of those that the network returns as its answer."""
        self.output = output
        if self.module is not None:
            self.module = Output(self.module, output)

    def freeze(self) -> None:
        """Keep a copy of the module in its current state, from which all trainings begin."""
        if self.module is not None and not self.taught:
            self._template = self._copied(self.module)

    @property
    def template(self) -> nn.Module:
        """The module in its original state."""
        assert self._template is not None
        return self._template

    def network(self, seed: int, role: str, training: str | None = None) -> nn.Module:
        """The network with which a training of this seed begins."""
        if self.module is None:
            return self._made(seed, role)
        if training is not None and training == self.in_place:
            return self.module
        if not self.taught:
            return self._copied(self._template or self.module)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derived_seed(seed, "weights", role))
            return fresh(self.module)

    def given(self) -> nn.Module:
        """The module itself, with its present weights: a teacher that is not trained here."""
        if self.module is None:
            self.module = self._made(0, "teacher")
        return self.module

    def begin_with(self, state: Mapping[str, Tensor]) -> bool:
        """Begin with these weights in place of the module's own; False where they do not fit it."""
        assert self.module is not None
        shapes = {name: value.shape for name, value in self.module.state_dict().items()}
        if shapes != {name: value.shape for name, value in state.items()}:
            return False
        restore(self.module, state)
        self.freeze()
        return True

    def facts(self) -> dict[str, object]:
        """The identity of the network without its weights."""
        if self.module is None:
            named = {} if self.output is None else {"output": Output(nn.Identity(), self.output).extra_repr()}
            return {"made_by": _qualified(self.make), **named}
        module = self._template or self.module  # a method may put a part of the teacher into the module itself
        return {
            "class": class_of(module),
            "layers": brief([of_layers(module)]),
            "parameters": sum(p.numel() for p in module.parameters()),
        }

    def weights(self, seed: int, role: str) -> str:
        """The digest of layers and weights with which a training of this seed begins."""
        place = (seed, role) if self.module is None or self.taught else (0, "")
        if place not in self._known:
            self._known[place] = of_network(self.network(seed, role))
        return self._known[place]

    def kinds(self) -> list[object]:
        """The classes of its modules, and the function that makes it."""
        kinds: set[type] = {type(module) for module in self._like().modules()}
        made_by = [self.make] if self.make else []
        return [*sorted(kinds, key=lambda kind: f"{kind.__module__}:{kind.__qualname__}"), *made_by]

    def spec(self, shape: tuple[int, ...], classes: int) -> NetworkSpec | None:
        """The name by which it can be built, where its family is known."""
        return recognised(inner(self._like()), shape, classes)

    def _like(self) -> nn.Module:
        """A network of the same layers, which is only looked at."""
        if self.module is None:
            return self._made(0, "student")
        return self.module if self._template is None else self._template

    def _made(self, seed: int, role: str) -> nn.Module:
        assert self.make is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.derived_seed(seed, "weights", role))
            made = self.make()
        if not isinstance(made, nn.Module):
            raise UserError(f"{self.called}: its function answers with a {type(made).__name__}, not with a module")
        return Output(made, self.output) if self.output is not None else made

    def _copied(self, module: nn.Module) -> nn.Module:
        try:
            return copy.deepcopy(module)
        except Exception as error:  # a user's class may raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{self.called}: the module cannot be copied ({reason}): give a function that makes it, as in "
                "lambda: MyNetwork()"
            ) from error


@dataclass(frozen=True)
class GivenMethod(Method):
    """A method that a caller passes as terms or stages. It has no name in the registry."""

    text: str = ""

    @classmethod
    def of(cls, given: "Expression | Sequence[Stage]") -> "GivenMethod":
        """Terms are trained with the config beside them; stages have their own."""
        if isinstance(given, Expression):
            name, stages, text = "own-terms", partial(_stage_of, given), str(given)
            reads = as_sum(given).reads.teacher
        else:
            listed = tuple(given)
            if not listed or not all(isinstance(stage, Stage) for stage in listed):
                raise UserError("method: give a name, a sum of terms, or a list of understudy.Stage")
            name, stages = "own-stages", partial(_listed, listed)
            text = "; ".join(f"{stage.name}: {stage.objective}, {stage.config}" for stage in listed)
            reads = any(stage.objective.reads.teacher for stage in listed)
        return cls(name, stages, family="own", year=0, paper="your own", reads_teacher=reads, text=text)

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def _stage_of(terms: Expression, config: TrainConfig) -> list[Stage]:
    """The terms as one stage."""
    return [Stage("own terms", terms, config)]


def _listed(stages: Sequence[Stage], config: TrainConfig) -> list[Stage]:
    """The stages, unchanged."""
    return list(stages)


@dataclass
class Objects:
    """All objects that a plan refers to by name."""

    networks: dict[str, GivenNetwork] = field(default_factory=dict)
    data: Data | None = None
    unlabelled: Source | None = None  # further training samples, without labels
    whole: bool = False  # whether all samples are hashed where data are read from disk

    def add(self, network: GivenNetwork) -> str:
        """The name under which the plan refers to a network."""
        self.networks[network.name] = network
        return network.name

    def __getitem__(self, name: str) -> GivenNetwork:
        if name not in self.networks:
            raise UserError(f"{name!r} is a network that a call of understudy.distill was given as an object: call it")
        return self.networks[name]


def class_of(network: nn.Module) -> str:
    """The class of a network, without what wraps it.

    >>> class_of(nn.Linear(1, 1))
    'torch.nn.modules.linear:Linear'
    """
    return _qualified(type(inner(network)))


def _qualified(thing: object) -> str:
    """Module and name of a class or a function; a script is called ``__mp_main__`` in a worker."""
    module = (getattr(thing, "__module__", None) or "builtins").replace("__mp_main__", "__main__")
    return f"{module}:{getattr(thing, '__qualname__', type(thing).__name__)}"


def _needed(make: Callable[[], nn.Module]) -> list[str]:
    """The arguments without which a function cannot be called."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some callables tell none
        return []
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [each.name for each in parameters if each.default is inspect.Parameter.empty and each.kind not in several]
