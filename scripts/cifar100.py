"""The pairs of the CIFAR-100 benchmark (Tian et al., 2020): a recipe for each, one command for all, one table.

    python scripts/cifar100.py run --out runs/cifar100               # 14 pairs, all methods, 3 seeds; a GPU
    python scripts/cifar100.py run --short --out runs/short          # two pairs on two CPU cores, a night
    python scripts/cifar100.py run --only vgg13-vgg8 --seeds 5 --by validation --out runs/vgg
    python scripts/cifar100.py table --out runs/cifar100             # what is there, as Markdown
    python scripts/cifar100.py check                                 # `understudy check` on each, on small random data
    python scripts/cifar100.py write                                 # the recipes; --check writes nothing

``run`` trains one pair after the other. It can be stopped at any moment, and the same command goes on; what follows
``--`` goes to ``understudy distill`` (``-- --workers 2``). The students are those of the last epoch of a training on
all 50,000 images, as in RepDistiller; with ``--by validation`` those of the epoch that is best on 5,000 of these
images, which are not trained on. The test images are read once for each pair, at its end.

``recipes/cifar100/reported.csv`` has what others report: the columns ``dkd`` and ``dot`` the README of mdistiller
(megvii-research/mdistiller at a08d46f), all others that of RepDistiller (HobbitLong/RepDistiller at b84f547). The last
pair is one that mdistiller's README names; the figures there are those that RepDistiller has for ShuffleNetV2, so that
none is taken over.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "recipes" / "cifar100"
REPORTED = FOLDER / "reported.csv"
EPOCHS, SEEDS = 240, 3
SHORT_EPOCHS, SHORT_TEACHER, SHORT_SAMPLES = 10, 10, 5_000
FIRST = ("alone", "kd", "fitnets-joint", "at", "sp", "vid", "rkd", "pkt", "crd", "dkd")  # three seeds in the short form

# All methods of this library that learn classes from one teacher of any kind. With one teacher `several-teachers`, the
# two of CA-MKD, `dgkd` and `takd` are soft targets; `encoder` trains no classifier.
METHODS = (
    *FIRST,
    *("logit-regression", "confidence", "noisy-teacher", "outputs", "dist", "function-matching", "ctkd", "mlkd", "nkd"),
    *(
        "standardised-kd",
        "wsl",
        "divergence",
        "dot",
        "deepkd",
        "ldrld",
        "sdd",
        "deit",
        "crld",
        "rld",
        "ttm",
        "wttm",
        "skd",
    ),
    *("fitnets", "neurons", "selected-neurons", "at-gradient", "class-distance", "nst", "factor-transfer", "ab", "ofd"),
    *("crd-batch", "cwd", "ickd", "review", "srrl", "mgd", "pad", "srd", "sskd", "simkd", "cat-kd", "ofa", "kdsvd"),
    *("pkd", "fcfd", "norm", "scalekd", "dist-plus"),
    *("triplets", "darkrank-hard", "darkrank-soft", "cc", "cc-differences", "irg"),
    *("can", "bss", "dml", "rocket", "born-again-cwtm", "born-again-dkpp", "tf-kd-reg", "byot"),
)
OF_EQUAL_WIDTHS = ("fsp", "fsp-joint")  # compare matrices of channels by channels


@dataclass(frozen=True)
class Pair:
    """A teacher, a student, and the accuracies that others report, in percent."""

    teacher: str
    student: str
    reported: Mapping[str, float]
    alike: bool = True
    equal_widths: bool = False

    @property
    def name(self) -> str:
        return f"{self.teacher}-{self.student}"

    @property
    def methods(self) -> tuple[str, ...]:
        return METHODS + (OF_EQUAL_WIDTHS if self.equal_widths else ())


UNLIKE = 7  # so many of the pairs, the last ones, are of different kinds
OTHER_WIDTHS = ("wrn-40-1",)  # a student of its teacher's kind, and narrower


def pairs() -> list[Pair]:
    """All pairs: seven of one kind, then seven of different kinds."""
    with REPORTED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for number, row in enumerate(rows):
        teacher, student = row.pop("teacher_network"), row.pop("student_network")
        reported = {method: float(figure) for method, figure in row.items() if figure}
        alike = number < len(rows) - UNLIKE
        found.append(Pair(teacher, student, reported, alike, alike and student not in OTHER_WIDTHS))
    return found


SHORT = ("resnet56-resnet20", "vgg13-mobilenetv2")
OF_FULL = """\
240 epochs of all images at a rate that falls by ten at 150, 180 and 210, as in RepDistiller; the student of the last
epoch. Each method stands at its defaults, also where its authors tune a setting for each pair (fcfd's weight of the
maps, dkd's beta); one with two stages has both within the 240 epochs, where RepDistiller gives the first one 30 of its
own."""
OF_SHORT = """\
The short form for two CPU cores: 5,000 images and 10 epochs for each student, 10 epochs of all images for the
teacher, whose answers for five views of each image are kept; three seeds for the first ten methods, one for the
others. Each method stands at its defaults, also where its authors tune a setting for this pair (fcfd's weight of the
maps, dkd's beta). It can show that a method runs, what it costs, and which differences between the first ten are
larger than their spread after so short a training. It cannot say which method is best after 240 epochs: methods that
begin slowly stand too low, a weak teacher teaches less, and one seed says nothing where two seeds are as far apart as
two methods."""


def recipe(pair: Pair, *, short: bool = False) -> str:
    """The recipe of a pair, as TOML."""
    slow = pair.student.startswith(("mobilenet", "shufflenet"))
    lines = [*_head(pair, short=short), "", f'title = "CIFAR-100: {pair.teacher} teaches {pair.student}"']
    lines += [f"seeds = {list(range(SEEDS))}", "", "[data]", 'name = "cifar100"', "validation = 0"]
    lines += [f"student_samples = {SHORT_SAMPLES}"] if short else []
    lines += ["", "[teacher]", f'network = "{pair.teacher}"', "one_for_all = true"]
    rate = {"optimizer": "{ lr = 0.05 }"} if slow else {}
    own = rate | ({"epochs": str(SHORT_TEACHER)} if short else {})
    lines += [
        "train = {" + ("".join(f" {key} = {value}," for key, value in own.items()).rstrip(",") + " }" if own else "}")
    ]
    lines += ["", "[student]", f'network = "{pair.student}"', "", "[train]"]
    lines += [f"epochs = {SHORT_EPOCHS if short else EPOCHS}", "batch = 64"]
    lines += [f'optimizer = {{ name = "sgd", lr = {0.01 if slow else 0.05}, nesterov = false, weight_decay = 5e-4 }}']
    lines += ['schedule = { name = "step", at = [0.625, 0.75, 0.875], by = 0.1 }']
    lines += ["augmentation = { shift = 4, flip = true }", 'keep = "last"']
    if short:
        lines += ["", "[settings]", 'precision = "bfloat16"', "threads = 1"]
        lines += ["", "[answers]", "views = 5", "seed = 0", 'taps = "exact"']
    for method in pair.methods:
        lines += ["", f"[methods.{method}]"]
        lines += ["seeds = [0]"] if short and method not in FIRST else []
    return "\n".join(lines) + "\n"


def _head(pair: Pair, *, short: bool) -> list[str]:
    kind = "of one kind" if pair.alike else "of different kinds"
    lines = [f"# CIFAR-100, a pair {kind}: {pair.teacher} teaches {pair.student}. Written by scripts/cifar100.py."]
    lines += ["#", *(f"# {line}" for line in (OF_SHORT if short else OF_FULL).splitlines())]
    name = f"short-{pair.name}" if short else pair.name
    lines += ["#", f"#   understudy distill recipes/cifar100/{name}.toml --out runs/cifar100/{pair.name}"]
    return lines


def recipes() -> dict[Path, str]:
    """Each file and what it holds."""
    full = {FOLDER / f"{pair.name}.toml": recipe(pair) for pair in pairs()}
    return full | {
        FOLDER / f"short-{pair.name}.toml": recipe(pair, short=True) for pair in pairs() if pair.name in SHORT
    }


def write(*, unchanged: bool) -> int:
    """Write the recipes, or say which are old."""
    old = [path for path, text in recipes().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        state = "not up to date: run python scripts/cifar100.py write" if unchanged else "written"
        print(f"{path.relative_to(ROOT)}: {state}")
        if not unchanged:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(recipes()[path], encoding="utf-8")
    return int(unchanged and bool(old))


def run(arguments: argparse.Namespace, further: list[str]) -> int:
    """Train the pairs one after the other; what is finished is not trained again."""
    for pair in chosen(arguments):
        name = f"short-{pair.name}" if arguments.short else pair.name
        command = [sys.executable, "-m", "understudy", "distill", str(FOLDER / f"{name}.toml")]
        command += ["--out", str(arguments.out / pair.name), *further]
        if arguments.by == "validation":
            command += ["--set", "data.validation=5000", "--set", "train.keep=best"]
        if arguments.seeds is not None:
            command += ["--set", f"seeds={list(range(arguments.seeds))}"]
        print("$", " ".join(command), flush=True)
        if code := waited_for(command):
            return code
    print("\n".join(table(arguments)))
    return 0


def waited_for(command: list[str]) -> int:
    """The exit code of a command. Ctrl-C reaches it as well, and it ends in its own way."""
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def check(arguments: argparse.Namespace, further: list[str]) -> int:
    """The pre-flight check of all methods of the pairs, on random images in CIFAR-100's own form."""
    import numpy as np

    failed = []
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "cifar-100-binary"
        folder.mkdir()
        for name, count in (("train", 200), ("test", 100)):
            records = np.random.default_rng(0).integers(0, 256, (count, 2 + 3 * 32 * 32), np.uint8)
            records[:, 1] = np.arange(count) % 100
            (folder / f"{name}.bin").write_bytes(records.tobytes())
        settings = [f"data.root={root}", "data.verify=false", "data.download=false", "train.batch=4"]
        for pair in chosen(arguments):
            name = f"short-{pair.name}" if arguments.short else pair.name
            command = [sys.executable, "-m", "understudy", "check", str(FOLDER / f"{name}.toml"), *further]
            for setting in settings:
                command += ["--set", setting]
            if subprocess.call(command):
                failed.append(name)
    print(f"{', '.join(failed)}: the check failed" if failed else "every recipe passes the check")
    return int(bool(failed))


def chosen(arguments: argparse.Namespace) -> list[Pair]:
    """The pairs that were asked for."""
    known = {pair.name: pair for pair in pairs()}
    names = arguments.only or (SHORT if arguments.short else list(known))
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no pair {unknown[0]!r}: there are {', '.join(known)}")
    return [known[name] for name in names]


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """A Markdown table of each pair that has a result: test accuracy in percent, and what others report."""
    for pair in chosen(arguments):
        path = arguments.out / pair.name / "result.json"
        if not path.exists():
            yield f"{pair.name}: no result yet"
            continue
        result, reported = json.loads(path.read_text(encoding="utf-8")), pair.reported
        yield f"\n### {pair.teacher} teaches {pair.student}\n"
        yield "| method | test accuracy, % | seeds | others report, % |\n|---|---:|---:|---:|"
        if result["teacher"]:
            teacher = result["teacher"]["figures"]["accuracy"]["mean"]
            yield f"| teacher | {100 * teacher:.2f} | 1 | {reported.get('teacher', '')} |"
        for method, record in result["methods"].items():
            values = [100 * training["figures"]["accuracy"] for training in record["trainings"]]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            theirs = f"{reported[method]:.2f}" if method in reported else ""
            yield f"| `{method}` | {statistics.mean(values):.2f}{spread} | {len(values)} | {theirs} |"
    yield "\nOthers report: RepDistiller's README, for `dkd` and `dot` mdistiller's; their training, not this one."


def main() -> int:
    given = sys.argv[1:]
    own, further = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "check", "write"])
    parser.add_argument("--out", type=Path, default=Path("runs/cifar100"), help="a folder for each pair below this one")
    parser.add_argument("--only", nargs="+", metavar="PAIR", help="these pairs, such as vgg13-vgg8")
    parser.add_argument("--short", action="store_true", help="the form for two CPU cores")
    parser.add_argument("--seeds", type=int, help="so many seeds of every method, which its recipe does not limit")
    parser.add_argument("--by", choices=["last", "validation"], default="last", help="which epoch's student counts")
    parser.add_argument("--check", action="store_true", help="with write: change nothing, exit with 1 where one is old")
    arguments = parser.parse_args(own)
    if arguments.what == "write":
        return write(unchanged=arguments.check)
    if arguments.what == "run":
        return run(arguments, further)
    if arguments.what == "check":
        return check(arguments, further)
    print("\n".join(table(arguments)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
