"""Optimizers of torch.optim and timm by name, and Muon with AdamW for what is no matrix."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import STRICT, NonNegative, Positive, ShareBelowOne
from understudy.errors import OptionalPackageError, UserError
from understudy.taps import inner

Groups = list[dict[str, Any]]
MATRICES = "matrices"  # the key of a group whose parameters Muon moves


@dataclass(frozen=True)
class _OfLibrary:
    """The settings that optimizers of libraries share; what is None is left to the library."""

    name: str = ""
    lr: Positive = 1e-3
    weight_decay: NonNegative | None = None
    momentum: ShareBelowOne | None = None
    nesterov: bool | None = None
    betas: tuple[ShareBelowOne, ...] | None = None
    eps: Positive | None = None
    alpha: ShareBelowOne | None = None
    rho: ShareBelowOne | None = None
    decoupled_weight_decay: bool | None = None
    amsgrad: bool | None = None

    def _made(self, make: Callable[..., torch.optim.Optimizer], groups: Groups) -> torch.optim.Optimizer:
        known = inspect.signature(make).parameters
        given = {key: value for key, value in asdict(self).items() if value is not None and key != "name"}
        for key in given:
            if key not in known:
                has = ", ".join(key for key in asdict(self) if key in known)
                raise UserError(f"optimizer {self.name!r} has no setting {key!r}; it takes {has}")
        usual = known["betas"].default if "betas" in given else None
        if isinstance(usual, tuple) and self.betas is not None and len(self.betas) != len(usual):
            raise UserError(f"optimizer {self.name!r}: betas are {len(usual)} numbers, not {len(self.betas)}")
        try:
            return make(groups, **given)
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer {self.name!r}: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class TorchOptimizer(_OfLibrary):
    """An optimizer of torch.optim by its name; what is left out is as PyTorch has it.

    Args:
        name: ``"torch:NAdam"`` and others. Those that need a closure (LBFGS) or sparse gradients are not among them.
        lr: the learning rate, which the schedule multiplies.
        weight_decay, momentum, nesterov, betas, eps, alpha, rho, decoupled_weight_decay, amsgrad: as far as the
            optimizer has them.

    >>> TorchOptimizer("torch:NAdam", lr=2e-3).lr
    0.002
    """

    name: Literal[
        "torch:Adam",
        "torch:ASGD",
        "torch:Adafactor",
        "torch:Adamax",
        "torch:NAdam",
        "torch:RAdam",
        "torch:RMSprop",
    ] = "torch:Adam"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        return self._made(getattr(torch.optim, self.name.partition(":")[2]), groups)


@dataclass(frozen=True)
class TimmOptimizer(_OfLibrary):
    """An optimizer of timm by its name; what is left out is as timm has it.

    Args:
        name: ``"timm:lion"`` and others. ``"timm:muon"`` flattens kernels of convolutions to matrices, and moves
            vectors by AdamW.
        lr: the learning rate, which the schedule multiplies.
        weight_decay, momentum, nesterov, betas, eps, alpha, rho, decoupled_weight_decay, amsgrad: as far as the
            optimizer has them.

    >>> TimmOptimizer("timm:lion", lr=1e-4).betas is None
    True
    """

    name: Literal[
        "timm:lion",
        "timm:adabelief",
        "timm:adamp",
        "timm:adan",
        "timm:adopt",
        "timm:lamb",
        "timm:lars",
        "timm:laprop",
        "timm:madgrad",
        "timm:mars",
        "timm:muon",
        "timm:nadamw",
        "timm:novograd",
        "timm:rmsproptf",
        "timm:sgdp",
    ] = "timm:lion"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        try:
            from timm import optim
        except ModuleNotFoundError as error:
            raise OptionalPackageError("timm", "timm", f"optimizer {self.name!r}") from error
        return self._made(optim.get_optimizer_class(self.name.partition(":")[2]), groups)


@dataclass(frozen=True)
class Muon:
    """Muon for the matrices of hidden layers, AdamW for everything else.

    torch.optim.Muon takes matrices alone, and is meant for hidden layers. The weights of linear layers are moved by
    it, but for the last one, which answers; vectors, embeddings, kernels of convolutions and what terms own are moved
    by AdamW. Updates of matrices are scaled to the size of AdamW's (``match_rms_adamw``), so that one learning rate and
    one decay serve both. A student without such a matrix is refused.

    Args:
        lr, weight_decay: of both.
        momentum, nesterov: of Muon.
        betas: of AdamW.

    >>> Muon(lr=2e-3).momentum
    0.95
    """

    name: Literal["muon"] = "muon"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.1
    momentum: ShareBelowOne = 0.95
    nesterov: bool = True
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.95)
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        if not hasattr(torch.optim, "Muon"):
            raise UserError(f"optimizer 'muon' needs PyTorch 2.9 or later, and this is {torch.__version__}")
        matrices = [group for group in groups if group.get(MATRICES)]
        others = [group for group in groups if not group.get(MATRICES)]
        adamw = torch.optim.AdamW(others, self.lr, self.betas, weight_decay=self.weight_decay) if others else None
        if not matrices:  # what an adversary has
            assert adamw is not None
            return adamw
        muon = torch.optim.Muon(
            matrices,
            self.lr,
            self.weight_decay,
            self.momentum,
            nesterov=self.nesterov,
            adjust_lr_fn="match_rms_adamw",
        )
        return Together([muon, adamw] if adamw is not None else [muon])


class Together(torch.optim.Optimizer):
    """Several optimizers of different parameters as one, with one state.

    >>> weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    >>> both = Together([torch.optim.SGD(weights[:1], lr=0.1), torch.optim.AdamW(weights[1:], lr=0.2)])
    >>> [group["lr"] for group in both.param_groups]
    [0.1, 0.2]
    """

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """The parts work on the groups and the state of the whole."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()


def matrices_apart(groups: Groups, student: nn.Module) -> Groups:
    """Each group as two: the matrices of the student's hidden layers, and the rest.

    >>> student = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    >>> groups = matrices_apart([{"params": list(student.parameters()), "lr": 0.1}], student)
    >>> [(len(group["params"]), group["matrices"]) for group in groups]
    [(1, True), (3, False)]
    """
    linear = [module for module in inner(student).modules() if isinstance(module, nn.Linear)]
    hidden = {module.weight for module in linear[:-1] if module.weight.ndim == 2}
    hidden -= {module.weight for module in inner(student).modules() if isinstance(module, nn.Embedding)}
    parts: Groups = []
    for group in groups:
        divided: dict[bool, list[Tensor]] = {True: [], False: []}
        for parameter in group["params"]:
            divided[parameter in hidden].append(parameter)
        parts += [{**group, "params": own, MATRICES: matrix} for matrix, own in divided.items() if own]
    if not any(group[MATRICES] for group in parts):
        raise UserError(
            "optimizer 'muon': the student has no matrix that it could move (a linear layer before the last one); "
            "kernels of convolutions are none to torch.optim.Muon: take 'timm:muon', which flattens them, or 'adamw'"
        )
    return parts
