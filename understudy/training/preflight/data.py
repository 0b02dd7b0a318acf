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
    if isinstance(example, Tensor) and example.is_floating_point() and example.ndim == 4 and example.min() >= 0:
        largest, (least, most) = example.max().item(), PIXELS
        if least < largest <= most:
            text = f"networks expect values between 0 and 1, and these reach {largest:g}: divide by 255, or give uint8"
            yield Finding("warning", ABOUT_IMAGES, text)
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
