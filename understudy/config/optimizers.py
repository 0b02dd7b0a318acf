"""Optimizers as plain descriptions, the RMSProp of FitNets, learning rates of single layers, bounds on kernels."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import STRICT, ByName, NonNegative, Positive, ShareBelowOne, ShareBetween
from understudy.config.library_optimizers import Groups as Groups
from understudy.config.library_optimizers import Muon as Muon
from understudy.config.library_optimizers import TimmOptimizer as TimmOptimizer
from understudy.config.library_optimizers import TorchOptimizer as TorchOptimizer
from understudy.config.library_optimizers import matrices_apart
from understudy.errors import UserError, did_you_mean
from understudy.objective import Objective
from understudy.ranks import own_shard
from understudy.taps import inner


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with (Nesterov's) momentum.

    Args:
        lr, momentum, nesterov, weight_decay: as in PyTorch.
        momentum_gap: the gradient of the labels has this much less momentum, and the gradient of all other terms this
            much more, as in DOT; a step then goes backwards twice. None: one momentum for the sum.

    >>> SGD(lr=0.05, nesterov=False).momentum
    0.9
    """

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: ShareBelowOne = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    momentum_gap: ShareBetween | None = None
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        nesterov = self.nesterov and self.momentum > 0
        optimizer = torch.optim.SGD(
            groups, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=nesterov, fused=_fusable(groups)
        )
        if self.momentum:  # from 0 on, as it would be: the fused step cannot begin with a layer that was skipped before
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay.

    >>> AdamW(lr=2e-3).weight_decay
    0.01
    """

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    weight_decay: NonNegative = 0.01
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, self.lr, self.betas, weight_decay=self.weight_decay, fused=_fusable(groups))


@dataclass(frozen=True)
class Adagrad:
    """Adagrad: each weight's rate falls with the sum of its squared gradients; it suits embeddings.

    >>> Adagrad(lr=0.2).weight_decay
    0.0
    """

    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 0.1
    weight_decay: NonNegative = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(groups, self.lr, weight_decay=self.weight_decay, fused=_fusable(groups))


@dataclass(frozen=True)
class RMSProp:
    """FitNets' RMSProp: ``lr * g / max(sqrt(E[g^2]), floor)``.

    PyTorch's own adds a small number to the root instead of bounding it from below, and decays by 0.99.

    >>> RMSProp(decay=0.9, floor=1e-5).lr
    0.005
    """

    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 0.005
    decay: ShareBetween = 0.9
    floor: Positive = 1e-5
    weight_decay: NonNegative = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return ClampedRMSprop(groups, self.lr, self.decay, self.floor, self.weight_decay)


Optimizer = Annotated[SGD | AdamW | Adagrad | RMSProp | Muon | TorchOptimizer | TimmOptimizer, ByName()]


class ClampedRMSprop(torch.optim.Optimizer):
    """RMSProp as pylearn2 has it: the root of the running mean square is bounded from below.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = ClampedRMSprop([weight], lr=0.1, decay=0.9, floor=1e-5, weight_decay=0.0)
    >>> weight.sum().backward()
    >>> optimizer.step()
    """

    def __init__(self, groups: Any, lr: float, decay: float, floor: float, weight_decay: float):
        super().__init__(groups, {"lr": lr, "decay": decay, "floor": floor, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            self._update([parameter for parameter in group["params"] if parameter.grad is not None], group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One step of a group, all of it in a few calls."""
        if not parameters:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["square"] = torch.zeros_like(parameter)
        squares = [self.state[parameter]["square"] for parameter in parameters]
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["decay"])
        roots = torch._foreach_sqrt(squares)
        torch._foreach_clamp_min_(roots, group["floor"])
        torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])


def optimizer_of(
    description: "Optimizer", student: nn.Module, owned: nn.Module, scales: Mapping[str, float]
) -> torch.optim.Optimizer:
    """The optimizer of a student and of what terms own, each parameter at its rate.

    >>> type(optimizer_of(SGD(), torch.nn.Linear(4, 3), torch.nn.ModuleDict(), {})).__name__
    'SGD'
    """
    groups = parameter_groups(student, owned, description.lr, scales)
    return description.build(matrices_apart(groups, student) if isinstance(description, Muon) else groups)


def parameter_groups(student: nn.Module, owned: nn.Module, base: float, scales: Mapping[str, float]) -> Groups:
    """One group for each rate: the student's parameters by the pattern they match, and what terms own at the base.

    >>> groups = parameter_groups(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2), 0.1, {"bias": 2.0})
    >>> sorted({group["lr"] for group in groups})
    [0.1, 0.2]
    """
    chosen: dict[float, list[Tensor]] = {1.0: list(owned.parameters())}
    named = list(_named(student))
    names = [name for name, _ in named]
    for pattern in scales:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"lr_scale: no parameter of the student matches {pattern!r}{did_you_mean(pattern, names)}")
    for name, parameter in named:
        scale = next((s for pattern, s in scales.items() if fnmatchcase(name, pattern)), 1.0)
        chosen.setdefault(scale, []).append(parameter)
    return [
        {"params": parameters, "lr": base * scale, "base_lr": base * scale}
        for scale, parameters in chosen.items()
        if parameters
    ]


def _named(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter by the name that its own network gives it, without what stands before that one (a front)."""
    names = {parameter: name for name, parameter in inner(network).named_parameters()}
    for name, parameter in network.named_parameters():
        yield names.get(parameter, name), parameter


def adversary_groups(objective: Objective, base: float) -> Groups:
    """One group for each adversary, at its own share of the student's rate.

    >>> objective = understudy.Objective(understudy.terms.CE(), student=torch.nn.Linear(4, 3))
    >>> adversary_groups(objective, 0.1)
    []
    """
    schedules = {name: base * objective.parts[name].term.adversary_lr_scale for name in objective.adversaries}
    return [
        {"params": list(adversary.parameters()), "lr": schedules[name], "base_lr": schedules[name]}
        for name, adversary in objective.adversaries.items()
    ]


_BOUND = "kernel_bound"  # the attribute of a term's module


def bound_kernels(module: nn.Module, bound: float) -> None:
    """Let the trainer scale the kernels of a term's module back to a bound after each step, as ``max_norm`` does.

    >>> layer = torch.nn.Linear(4, 3)
    >>> bound_kernels(layer, 0.1)
    >>> MaxNorm(torch.nn.Linear(1, 1), {}, owned=layer).bounded[0][1]
    0.1
    """
    module.__dict__[_BOUND] = bound


class MaxNorm:
    """After each step, kernels (all weights into one output unit) longer than the bound are scaled back to it.

    Args:
        network: the student.
        bounds: pattern of weight names -> bound.
        owned: what terms own; modules of theirs may have bounds (``bound_kernels``).

    >>> layer = torch.nn.Linear(4, 3)
    >>> MaxNorm(layer, {"weight": 0.1}).apply()
    >>> bool((layer.weight.norm(dim=1) < 0.11).all())
    True
    """

    def __init__(self, network: nn.Module, bounds: Mapping[str, float], owned: nn.Module | None = None):
        self.bounded: list[tuple[Tensor, float]] = []
        for module in owned.modules() if owned is not None else ():
            if (bound := module.__dict__.get(_BOUND)) is not None:
                self.bounded += [(parameter, bound) for parameter in module.parameters() if parameter.ndim > 1]
        kernels = [(name, parameter) for name, parameter in _named(network) if parameter.ndim > 1]
        for pattern, bound in bounds.items():
            matching = [parameter for name, parameter in kernels if fnmatchcase(name, pattern)]
            if not matching:
                names = [name for name, _ in kernels]
                raise UserError(f"max_norm: no weight of the student matches {pattern!r}{did_you_mean(pattern, names)}")
            self.bounded += [(own_shard(parameter.detach()), bound) for parameter in matching]  # whole kernels, too

    @torch.no_grad()
    def apply(self) -> None:
        if not self.bounded:
            return
        kernels, bounds = zip(*self.bounded, strict=True)
        scales = [kernel.flatten(1).norm(dim=1) for kernel in kernels]
        torch._foreach_clamp_min_(scales, 1e-7)
        torch._foreach_reciprocal_(scales)
        torch._foreach_mul_(scales, list(bounds))
        torch._foreach_clamp_max_(scales, 1.0)
        shaped = [scale.view(-1, *[1] * (kernel.ndim - 1)) for scale, kernel in zip(scales, kernels, strict=True)]
        torch._foreach_mul_(list(kernels), shaped)


def _fusable(groups: Groups) -> bool:
    parameters: Iterable[Tensor] = (p for group in groups for p in group["params"])
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
