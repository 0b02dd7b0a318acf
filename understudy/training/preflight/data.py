"""The check of the data."""

from collections.abc import Iterator

import torch
from torch import Tensor

from understudy.data.parts import Data
from understudy.training.preflight.findings import ABOUT_IMAGES, Finding

DRY_BATCH = 32
PIXELS = 100.0, 255.0  # the largest value of images that were not scaled to [0, 1] is between these


def check_data(data: Data, batch: int) -> Iterator[Finding]:
    validation = len(data.validation) if data.validation else 0
    text = f"{len(data.train)} train, {validation} validation, {data.task.about}, samples {data.shape}"
    yield Finding("ok", "data", text, worth=True)
    yield from (Finding("warning", "data", remark) for remark in data.task.remarks(data.train.targets))
    example = data.example(DRY_BATCH, torch.device("cpu"))
    if isinstance(example, Tensor) and example.ndim == 4:
        height, width = example.shape[2:]
        if count := data.task.outside(data.train.targets, (height, width)):
            text = f"{count:,} training samples have targets outside their images, which are {width} x {height} pixels"
            yield Finding("warning", "data", f"{text}: resize the targets with the images")
    if isinstance(example, Tensor) and example.ndim == 4:
        yield from (Finding("warning", ABOUT_IMAGES, text) for text in _about_images(example))
    yield from (Finding("error", "data", problem) for problem in data.problems())
    if batch > len(data.train):
        yield Finding(
            "warning", "data", f"batch {batch} is larger than the training part: batches of {len(data.train)}"
        )
    if not validation:
        yield Finding("warning", "data", "no validation part: nothing selects, the last epoch is kept")
    if data.open_test is None:
        measured = "validation" if validation else "training"
        yield Finding("warning", "data", f"no test part: the final figures will be those of the {measured} part")


def _about_images(images: Tensor) -> Iterator[str]:
    """What is unusual of images (N, C, H, W): values that are not between 0 and 1, channels in the last place."""
    smallest, largest, (least, most) = images.min().item(), images.max().item(), PIXELS
    if images.is_floating_point() and smallest >= 0 and least < largest <= most:
        yield f"networks expect values between 0 and 1, and these reach {largest:g}: divide by 255, or give uint8"
    if smallest < 0:
        yield (
            f"their values lie between {smallest:.3g} and {largest:.3g}: if they were normalised, leave that to the "
            "networks (`Normalized`), since `predict` gives the student pictures with values between 0 and 1"
        )
    channels, height, width = images.shape[1:]
    if width in (1, 3) and channels not in (1, 3):
        yield (
            f"they are (channels, height, width), so these have {channels} channels of {height} x {width} pixels: if "
            "channels stand last, move them: x.permute(0, 3, 1, 2) of a tensor, x.transpose(0, 3, 1, 2) of an array"
        )
