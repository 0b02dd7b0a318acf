"""Are students still the same, bit for bit? Trains fifty small ones by an earlier commit and by this tree.

    python scripts/same_bits.py --at 6c4e7c7                    # both, compared
    python scripts/same_bits.py --only here                     # this tree alone, printed as JSON

Every student is trained by the command line on images that ship with the package, with plain settings (float32, one
thread). What is compared is the SHA-256 of the student's tensors: names, kinds, shapes and bytes. Figures differ from
machine to machine, therefore both sides are trained on the machine on which the script runs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent

# What an earlier commit called by another name: applied to the recipes where the commit before the rename is trained.
EARLIER = {"augmentation = ": "views = ", "schedule = ": "rate = ", "[answers]": "[stored]"}

HEAD = """
seeds = {seeds}
[data]
name = "demo"
validation = 500
student_samples = 512
[teacher]
network = "resnet8"
settings = {{ channels = 1 }}
train = {{ epochs = 1, optimizer = {{ lr = 0.1 }} }}
[student]
network = "resnet8"
settings = {{ channels = 1, widths = [4, 8, 16] }}
[settings]
precision = "float32"
channels_last = false
threads = 1
[train]
epochs = 2
batch = 64
{train}
"""

METHODS = """
[methods.alone]
[methods.kd]
[methods.fitnets]
[methods.at]
[methods.fsp]
[methods.can]
[methods.rkd]
[methods.crd]
[methods.dkd]
[methods.dist]
[methods.ofd]
[methods.vid]
[methods.review]
[methods.simkd]
[methods.dml]
[methods.at-gradient]
[methods.nst]
[methods.factor-transfer]
[methods.ctkd]
[methods.noisy-teacher]
[methods.sp]
[methods.takd]
assistants = [{ network = "resnet8", settings = { channels = 1, widths = [8, 16, 32] } }]
[methods.dgkd]
assistants = [{ network = "resnet8", settings = { channels = 1, widths = [8, 16, 32] } }]
"""

FEW = "[methods.kd]\n[methods.fitnets]\n[methods.can]\n"

CASES = {
    "methods": HEAD.format(seeds=[0], train="augmentation = { shift = 2, flip = true }") + METHODS,
    "seeds": HEAD.format(seeds=[1, 2], train="") + FEW,
    "stored": HEAD.format(seeds=[0], train="augmentation = { shift = 2, flip = true }")
    + '[answers]\nviews = 2\ntaps = "exact"\n'
    + FEW,
    "ema": HEAD.format(seeds=[0], train="ema = 0.9") + FEW,
    "mixup": HEAD.format(seeds=[0], train="augmentation = { mixup = 0.2, cutout = 4 }") + FEW,
    "rmsprop": HEAD.format(
        seeds=[0],
        train='optimizer = { name = "rmsprop", lr = 0.001 }\nschedule = { name = "one-cycle" }\nkeep = "last"',
    )
    + FEW,
}


def digest(file: Path) -> str:
    """Of a student's tensors, whatever else the file says."""
    whole = hashlib.sha256()
    with safe_open(file, "np") as weights:  # type: ignore[no-untyped-call]
        for name in sorted(weights.keys()):
            tensor = weights.get_tensor(name)
            whole.update(f"{name} {tensor.dtype} {tensor.shape} ".encode() + tensor.tobytes())
    return whole.hexdigest()


def students(tree: Path, folder: Path, *, earlier: bool) -> dict[str, str]:
    """Every student of every case, trained by the package in ``tree``."""
    found = {}
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    for name, recipe in CASES.items():
        for now, before in EARLIER.items() if earlier else ():
            recipe = recipe.replace(now, before)
        file, out = folder / f"{name}.toml", folder / name
        file.write_text(recipe)
        command = [sys.executable, "-m", "understudy", "distill", str(file), "--out", str(out)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{tree}, case {name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        for weights in sorted(out.glob("trainings/*/student.safetensors")):
            found[f"{name}/{weights.parent.name}"] = digest(weights)
    return found


def compare(before: dict[str, str], after: dict[str, str]) -> int:
    """Say which differ; the number of those that do."""
    differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    for name in differing:
        print(f"differs: {name}: {before.get(name, 'missing')} -> {after.get(name, 'missing')}")
    print(f"{len(before) - len(set(differing) & set(before))} of {len(before)} students are equal, bit for bit")
    return len(differing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", default="6c4e7c7", help="the earlier commit")
    parser.add_argument("--only", choices=["here", "there"], help="train one side alone and print it as JSON")
    parser.add_argument("--against", type=Path, help="a file that --only printed, instead of the earlier commit")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        there, here = Path(scratch) / "there", Path(scratch) / "here"
        for folder in (there, here):
            folder.mkdir()
        before: dict[str, str] = json.loads(given.against.read_text()) if given.against else {}
        if not given.against and given.only != "here":
            tree = Path(scratch) / "tree"
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
            subprocess.run(["git", "-C", str(tree), "checkout", "--quiet", given.at], check=True)
            before = students(tree, there, earlier=True)
        if given.only == "there":
            print(json.dumps(before, indent=1))
            return
        after = students(ROOT, here, earlier=False)
        if given.only == "here":
            print(json.dumps(after, indent=1))
            return
    sys.exit(1 if compare(before, after) else 0)


if __name__ == "__main__":
    main()
