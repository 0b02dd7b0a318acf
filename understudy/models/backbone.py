"""A network of timm as the backbone of another network: its maps at the strides that are asked for."""

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.errors import UserError, did_you_mean
from understudy.models.outside import require
from understudy.trusted import answered

LIBRARY = "timm:"


class OnBackbone(nn.Module):
    """A network whose first maps may come from a network of timm, and otherwise from modules of its own.

    >>> class Doubled(OnBackbone):
    ...     def forward(self, images):
    ...         return [2 * features for features in self.backbone_maps(images)]
    >>> network = Doubled()
    >>> network.numbers is None
    True
    >>> widths = network.take_backbone("timm:resnet18", 3, (8, 16), by="finest", hold=False)  # doctest: +SKIP
    """

    backbone: nn.Module  # if it is from elsewhere
    body = "backbone"  # the module whose weights come from a classifier
    numbers: list[int] | None = None  # of the maps of a backbone from elsewhere
    statistics_held = False

    def take_backbone(
        self, name: str, channels: int, strides: Sequence[int], *, by: str, hold: bool, every: bool = True
    ) -> list[int]:
        """Make the network of timm the first module; the channels of its maps of these strides.

        ``by`` names the settings that the strides come from; ``hold`` keeps the statistics of its batch norms. Without
        ``every`` it may lack maps of the finest strides: those that it has are the last ones.
        """
        self.backbone, self.numbers, widths = of_timm(name, channels, strides, by, every=every)
        self.statistics_held = hold
        return widths

    def backbone_maps(self, images: Tensor) -> list[Tensor]:
        """The maps of the strides that were asked for, from fine to coarse."""
        assert self.numbers is not None
        maps: list[Tensor] = self.backbone.forward_intermediates(  # type: ignore[operator]
            images, indices=list(self.numbers), output_fmt="NCHW", intermediates_only=True
        )
        return maps

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.statistics_held:
            hold_statistics(self.backbone)
        return self


def of_timm(
    name: str, channels: int, strides: Sequence[int], by: str, *, every: bool = True
) -> tuple[nn.Module, list[int], list[int]]:
    """A network of timm with fresh weights, up to its map of the last stride; the numbers of the maps, their channels.

    The names of its weights are those of the classifier, whose weights therefore fit.

    >>> network, numbers, widths = of_timm("timm:tf_efficientnet_lite0", 3, (16, 32), by="finest")  # doctest: +SKIP

    Args:
        name: ``"timm:NAME"``.
        channels: of the images.
        strides: from fine to coarse; of several maps with the same stride the last one is taken.
        by: the settings that the strides come from, for an error.
        every: whether it must have a map of each stride; otherwise the finest strides that it lacks are left out.
    """
    library, colon, what = name.partition(":")
    if f"{library}{colon}" != LIBRARY:
        raise UserError(f"a backbone is a network of timm, 'timm:NAME', not {name!r}")
    require(library, what)
    import timm

    # Checked in timm's list, because create_model() downloads names such as "hf-hub:...".
    if not timm.is_model(what):
        raise UserError(f"timm has no network {what!r}{did_you_mean(what, timm.list_models())}")
    network: nn.Module = answered(
        f"backbone {name!r}", lambda: timm.create_model(what, pretrained=False, in_chans=channels)
    )
    info = getattr(network, "feature_info", None)
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "prune_intermediate_layers") or not info:
        raise UserError(f"backbone {name!r}: timm reads no maps of it; take one with strides, as 'timm:resnet18'")
    last = {stage["reduction"]: (index, stage["num_chs"]) for index, stage in enumerate(info)}
    if not every:
        strides = [stride for stride in strides if stride >= min(last)] or strides
    if missing := [stride for stride in strides if stride not in last]:
        raise UserError(
            f"backbone {name!r} has maps of strides {', '.join(map(str, sorted(last)))}, and none of "
            f"{', '.join(map(str, missing))}: change {by}, or take another network"
        )
    numbers, widths = ([last[stride][place] for stride in strides] for place in (0, 1))
    network.prune_intermediate_layers(numbers, prune_norm=True, prune_head=True)  # type: ignore[operator]
    return network, numbers, widths


def refuse_keeping(keep_statistics: bool | None) -> None:
    """A ``UserError`` for the setting ``keep_statistics`` of a network without a backbone.

    >>> refuse_keeping(None)
    """
    if keep_statistics is not None:
        raise UserError("keep_statistics is of a backbone: name one, as in backbone = 'timm:resnet18'")


def has_fresh_statistics(network: nn.Module) -> bool:
    """Whether its batch norms have the running statistics with which they are made, which normalise nothing.

    >>> has_fresh_statistics(nn.BatchNorm2d(4))
    True
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    return bool(kept) and not any(
        mean is None or var is None or bool(mean.any()) or bool((var != 1).any()) for mean, var in kept
    )


def hold_statistics(network: nn.Module) -> None:
    """Let batch norms use their running statistics, and not change them, until the next ``train()``.

    >>> norm = nn.BatchNorm2d(4)
    >>> hold_statistics(norm)
    >>> norm.training
    False
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
