"""``python -m benchmarks.augmentation``: whole batches by Understudy against single images by torchvision's v2.

Both turn the same bytes into float images between 0 and 1, on the same threads of one process, in alternating rounds;
the medians are compared. It needs an environment with torchvision, such as that of ``make test-zoo``.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from understudy.data import Augmentation, Blur, Crop, Erase, Jitter, RandAugment, TrivialAugment

BATCH = {32: 256, 224: 32}  # images of each size
PIPELINES: dict[str, Augmentation] = {
    "crop, flip": Augmentation(shift=4, flip=True),
    "resized crop, flip": Augmentation(crop=Crop(), flip=True),
    "RandAugment": Augmentation(policy=RandAugment()),
    "TrivialAugment": Augmentation(policy=TrivialAugment()),
    "colour jitter": Augmentation(jitter=Jitter(share=1.0)),
    "blur": Augmentation(blur=Blur(share=1.0)),
    "resized crop, flip, RandAugment, erasing": Augmentation(
        crop=Crop(), flip=True, policy=RandAugment(), erase=Erase()
    ),
    "resized crop, flip, jitter, grey, blur, solarising": Augmentation(
        crop=Crop(), flip=True, jitter=Jitter(), grey=0.2, blur=Blur(), solarise=0.2
    ),
}


def peer(augmentation: Augmentation, size: int) -> Callable[[Tensor], Tensor]:
    """The same pipeline of torchvision, of one image."""
    from torchvision.transforms import v2

    steps: list[nn.Module] = []
    if augmentation.crop is not None:
        steps.append(v2.RandomResizedCrop(size, augmentation.crop.scale, augmentation.crop.ratio))
    if augmentation.shift:
        steps.append(v2.RandomCrop(size, padding=augmentation.shift))
    if augmentation.flip:
        steps.append(v2.RandomHorizontalFlip())
    if isinstance(augmentation.policy, RandAugment):
        steps.append(v2.RandAugment(augmentation.policy.operations, augmentation.policy.magnitude))
    if isinstance(augmentation.policy, TrivialAugment):
        steps.append(v2.TrivialAugmentWide())
    if (jitter := augmentation.jitter) is not None:
        change = v2.ColorJitter(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        steps.append(v2.RandomApply([change], jitter.share))
    if augmentation.grey:
        steps.append(v2.RandomGrayscale(augmentation.grey))
    if (blur := augmentation.blur) is not None:
        steps.append(v2.RandomApply([v2.GaussianBlur(2 * round(2 * blur.sigma[1]) + 1, blur.sigma)], blur.share))
    if augmentation.solarise:
        steps.append(v2.RandomSolarize(128, augmentation.solarise))
    steps.append(v2.ToDtype(torch.float32, scale=True))
    if (erase := augmentation.erase) is not None:
        steps.append(v2.RandomErasing(erase.share, erase.scale, erase.ratio))
    return v2.Compose(steps)


def compared(augmentation: Augmentation, size: int, rounds: int) -> tuple[float, float]:
    """Median microseconds for an image: of Understudy, and of torchvision."""
    count = BATCH[size]
    images = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    ids, other = torch.arange(count), peer(augmentation, size)

    def ours(number: int) -> Tensor:
        return augmentation.finish(augmentation.draw(images, 0, number, ids), 0, number, ids)

    def theirs(number: int) -> Tensor:
        torch.manual_seed(number)
        return torch.stack([other(image) for image in images])

    times: dict[Callable[[int], Tensor], list[float]] = {ours: [], theirs: []}
    for number in range(rounds + 1):
        for run, seconds in times.items():
            began = time.perf_counter()
            run(number)
            seconds.append(1e6 * (time.perf_counter() - began) / count)
    first, second = (median(seconds[1:]) for seconds in times.values())
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.augmentation", description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, choices=list(BATCH), default=list(BATCH))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PIPELINES), default=list(PIPELINES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    import torchvision

    print(f"`{' '.join(['python -m benchmarks.augmentation', *sys.argv[1:]])}`\n")
    print(f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}, {options.threads} thread(s), ", end="")
    print(f"medians of {options.rounds} rounds, microseconds for an image\n")
    print("| pipeline | size | understudy | torchvision v2 | times as fast |\n|---|---|---|---|---|")
    for size in options.sizes:
        for name in options.only:
            ours, theirs = compared(PIPELINES[name], size, options.rounds)
            print(f"| {name} | {size} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
