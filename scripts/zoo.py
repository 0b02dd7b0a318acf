"""Which networks of timm, torchvision and transformers distil? Random weights, small images.

    make test-zoo                           # all that runs/zoo.json does not hold, into results/zoo.md; hours
    python scripts/zoo.py --calls           # the calls and commands alone
    python scripts/zoo.py --facts           # the last maps and methods alone
    python scripts/zoo.py --again           # what failed, or was not there, once more
    python scripts/zoo.py --only deit_tiny  # pairs with this network

The networks stand in a ring, mixed by a fixed seed: each teaches the next one, so each is a teacher once and a student
once. Of every pair

- one call, ``understudy.distill(teacher, student, images, config=...)`` on images without labels: it works if it ends
  and the student's parameters are not what they were; and ``understudy.load`` is to give the same answers;
- the teacher's proposed last map is checked, and every method that reads maps or pairs is built with the taps
  that it proposes: it works if that raises no error, and no term's gradient on the student is below 1e-4 of the
  largest term's, the ratio of the pre-flight check.

Of one student of each library, ``python -m understudy predict`` and ``export`` are called on its run folder, too.
"""

import argparse
import gc
import json
import random
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import nn

import understudy
from understudy import Objective, methods
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.files import write_atomically
from understudy.models import Normalized, build
from understudy.objective.term import Facts
from understudy.taps import TappedNetwork, call, evaluating, inner
from understudy.taps.defaults import PROPOSALS
from understudy.taps.stages import gives_the_answer, head_on, last_map
from understudy.taps.tracing import trace
from understudy.tasks.task import only
from understudy.training.preflight.stage import DEAD

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "zoo.txt"
CLASSES, SAMPLES = 10, 4
SURELY = 1e-2  # of the largest gradient on norms and biases, above which a term's gradient is not computed as a whole
READING = ("maps", "pairs", "pair")  # settings of the methods that are tried
ELSEWHERE = ("fgd", "patient-kd", "tinybert")  # methods of detectors, and between transformers alone

Named = tuple[str, dict[str, object], int]  # a network, its settings, the size of its images
LAWS = (
    "What the methods refuse by their definition:",
    "",
    "- `cat-kd` and `sdd` apply the classifier to each place of the last map. A network with a layer between the",
    "  pooling and the classifier (MobileNetV3, GhostNet, VGG, LCNet, EfficientViT) has no such maps of classes.",
    "- `at-gradient` differentiates a gradient, which does not depend on the weights below a tap that only a mean and",
    "  a linear layer follow.",
    "- `simkd` hands over the teacher's classifier, which must be a linear layer or a convolution of 1x1.",
    "- `norm` puts layers behind a module that answers with a map, and takes the map's channels from the classifier:",
    "  it fails where another layer stands between them.",
    "",
    "What is small: `mgd` is a sum over the elements of the last map, and its weight 7e-5 is for maps of 7x7; images",
    "of 64 pixels leave 2x2. Its docstring says so, and the check names the remedy: a larger weight, or balance.",
)
State = dict[str, dict[str, object]]
CALL, COMMANDS = "call ", "commands "  # what the keys of a state begin with
ENOUGH = 0.95  # of the calls
BACK = ("timm:lcnet_050", "torchvision:shufflenet_v2_x0_5", "transformers:vit")

TRANSFORMERS = {
    "vit": {"hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 96},
    "deit": {"hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 96},
    "dinov2": {"hidden_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "patch_size": 16},
    "swin": {"embed_dim": 24, "depths": [2, 2, 2], "num_heads": [2, 2, 4], "window_size": 4},
    "resnet": {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [2, 2, 2], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]},
    "mobilenet_v2": {},
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1], "groups_width": 8},
    "poolformer": {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 2, 1]},
    "bit": {"embedding_size": 16, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 2, 1], "num_groups": 8},
}
SIZES = {  # of the images of networks that take none of 64 pixels
    "inception_v4": 96,
    "xception41": 96,
    "alexnet": 96,
    "nest_tiny": 128,
    "hiera_tiny_224": 224,
    "crossvit_tiny_240": 240,
    "bat_resnext26ts": 256,
    "haloregnetz_b": 224,
}
ONE_SIZE = {"timm:efficientformer_l1": 224}  # of networks that take no other: it stands before them


def names() -> list[Named]:
    """Every network with its settings and the size of its images."""
    found: list[Named] = []
    library = ""
    for word in " ".join(line for line in LIST.read_text().splitlines() if not line.startswith("#")).split():
        if word.endswith(":"):
            library = word
        else:
            found.append((library + word, {}, SIZES.get(word, 64)))
    return found + [(f"transformers:{name}", dict(settings), 64) for name, settings in TRANSFORMERS.items()]


def made(name: str, settings: dict[str, object], size: int) -> nn.Module:
    """A network with fresh weights, whose batch norms hold the statistics of a batch."""
    torch.manual_seed(0)
    network = build(name, classes=CLASSES, channels=3, size=ONE_SIZE.get(name, size), **settings)
    if name in ONE_SIZE:
        network = Normalized(network, (0.0,) * 3, (1.0,) * 3, size=ONE_SIZE[name])
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    network.train()
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        call(network, torch.rand(4 * SAMPLES, 3, size, size))
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    return network.eval()


def map_of(network: nn.Module, size: int) -> dict[str, object]:
    """The proposed last map, whether it is the pooled one, and whether another value would have been right."""
    images = torch.randn(2, 3, size, size)
    tap = last_map(network, images)
    value = TappedNetwork(network.eval(), [tap])
    with torch.no_grad(), evaluating(network):
        shape = tuple(call(value, images)[tap].shape[1:])
    pooled = gives_the_answer(network, tap, images)
    return {
        "tap": str(tap),
        "shape": list(shape),
        "pooled": pooled,
        "right": len(shape) == 3 and shape[1] * shape[2] > 1 and (pooled or not _another(network, images)),
    }


def _another(network: nn.Module, images: torch.Tensor) -> str | None:
    """A map from whose mean a classifier answers, of all that can be tapped."""
    taps = [t.map_tap for t in trace(network, images) if t.tappable and t.grid and t.grid != (1, 1)]
    with torch.no_grad(), evaluating(network):
        for start in range(0, len(taps), 50):
            answer = call(TappedNetwork(network, taps[start : start + 50]), images)
            logits = next(iter(answer.named.values()))
            for tap, value in answer.items():
                if head_on(network, value, logits) or head_on(network, value.relu(), logits):
                    return str(tap)
    return None


def tried(
    name: str,
    taps: dict[str, object],
    teacher: nn.Module,
    student: nn.Module,
    images: torch.Tensor,
) -> str:
    """Empty where a method works with these taps, else why not."""
    method, labels = methods.find(name), torch.arange(SAMPLES)
    if method.grafts is not None:
        method.grafts(student, teacher, method.complete(taps))
    for stage in method(TrainConfig(epochs=4, batch=SAMPLES), **taps):
        facts = Facts(SAMPLES, labels)
        objective = Objective(stage.objective, student=student, teacher=teacher, example=images[:2], facts=facts)
        student.train()
        outcome = objective(images, labels, epoch=2.0, ids=torch.arange(SAMPLES))
        if not torch.isfinite(outcome.loss):
            return "its value is not finite"
        trained = {
            term: student if objective.parts[term].term.trains_student else objective.owned for term in outcome.weighted
        }
        small = {term: _norm(weighted, trained[term], most=1) for term, weighted in outcome.weighted.items()}
        if min(small.values()) > SURELY * max(small.values()):
            continue
        norms = {term: _norm(weighted, trained[term]) for term, weighted in outcome.weighted.items()}
        for term, norm in norms.items():
            if not norm > DEAD * max(norms.values()):
                return f"dead: the gradient of {term!r} on the student is below {DEAD:g} of the largest"
    return ""


def _norm(loss: torch.Tensor, network: nn.Module, most: int = 4) -> float:
    """The norm of the gradient on parameters of at most so many dimensions; those of one are cheap."""
    parameters = [p for p in network.parameters() if p.requires_grad and p.ndim <= most]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return float(nn.utils.get_total_norm([g for g in gradients if g is not None]))


def proposed(teacher: nn.Module, student: nn.Module, images: torch.Tensor) -> dict[str, object]:
    """What each rule proposes for a pair, or the error with which it does not."""
    traces = {teacher: trace(teacher, images), student: trace(student, images)}  # once for all rules, to be cheap
    found: dict[str, object] = {}
    with (
        patch("understudy.taps.defaults.trace", lambda network, _: traces[network]),
        patch("understudy.taps.stages.trace", lambda network, _: traces[network]),
    ):
        for rule in PROPOSALS:
            try:
                found[rule] = PROPOSALS[rule](teacher, student, images)
            except UserError as error:
                found[rule] = error
    return found


def run(state: State, file: Path, calls: bool, facts: bool, again: bool, only: str) -> None:
    """All pairs that ``state`` does not hold; ``file`` gets it after each of them."""
    ring = names()
    random.Random(0).shuffle(ring)
    tested = [name for name in methods.METHODS if set(methods.find(name).needed) & set(READING)]
    tested = [name for name in tested if name not in ELSEWHERE]
    pairs = list(zip(ring, ring[1:] + ring[:1], strict=True))
    tries: list[tuple[str, Callable[[], dict[str, object]]]] = []
    if calls or not facts:
        tries += [(f"{CALL}{first[0]} -> {second[0]}", partial(called, first, second)) for first, second in pairs]
        tries += [(f"{COMMANDS}{name}", partial(commanded, name)) for name in BACK]
    if facts or not calls:
        for first, second in pairs:
            before = state.get(f"{first[0]} -> {second[0]}", {})
            tries.append((f"{first[0]} -> {second[0]}", partial(facts_of, first, second, tested, before)))
    for key, tried_once in sorted(tries, key=lambda each: again and not failed(state.get(each[0], {}))):
        if only not in key or (key in state and not (again and (failed(state[key]) or _lacks(state[key], tested)))):
            continue
        began = time.monotonic()
        state[key] = {"commit": commit(), **tried_once()}
        gc.collect()  # networks refer to themselves
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(state, indent=1).encode())
        print(f"{key} {time.monotonic() - began:.0f} s", file=sys.stderr)
        for name, reason in failed(state[key]).items():
            print(f"    {name}: {reason[:200]}", file=sys.stderr, flush=True)


def called(teacher: Named, student: Named) -> dict[str, object]:
    """Whether one call distils a pair from images without labels, and whether the student comes back."""
    size = max(teacher[2], student[2])
    try:
        taught, learner = made(*teacher[:2], size), made(*student[:2], size)
        before = {name: value.detach().clone() for name, value in learner.named_parameters()}
        images = torch.rand(3 * SAMPLES, 3, size, size)
        with TemporaryDirectory() as folder:
            config = TrainConfig(epochs=1, batch=SAMPLES)  # of several steps: the first has the rate 0
            run = understudy.distill(
                taught, learner, images, config=config, out=folder, accept_weak=True, progress=False
            )
            trained = run.student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            with torch.no_grad():  # in one format: a network that has diverged answers differently in another
                answers = [only(call(each.eval(), images[:2]), "logits") for each in (trained, understudy.load(folder))]
        if all(torch.equal(value, before[name]) for name, value in run.student.named_parameters()):
            return {"call": "the student is what it was"}
        if (answers[0] - answers[1]).abs().max() > 1e-3 * answers[0].abs().max():
            return {"call": "", "back": f"the loaded student differs by {(answers[0] - answers[1]).abs().max():.2g}"}
    except Exception as error:  # an error of any kind is what is looked for
        return {"call": _line(error)}
    return {"call": "", "back": ""}


def commanded(student: str) -> dict[str, object]:
    """Whether the commands take a run folder whose networks were objects."""
    with TemporaryDirectory() as place:
        photos, folder = Path(place, "photos"), Path(place, "run")
        for part, count in (("train", 12), ("test", 8)):
            for number in range(count):
                colours = np.full((64, 64, 3), [40 * number % 255, 10, 90], np.uint8)
                photo = photos / part / "ab"[number % 2] / f"{number}.png"
                photo.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(colours).save(photo)
        torch.manual_seed(0)
        teacher, learner = (
            build(name, classes=2, channels=3, size=64, **TRANSFORMERS.get(name[13:], {}))
            for name in (BACK[0], student)
        )
        understudy.distill(teacher, learner, photos, epochs=1, out=folder, accept_weak=True, progress=False)
        results = {}
        for words in (["predict", folder, photos / "test"], ["export", folder, "--to", "torch", "--data", photos]):
            force = ["--broken"] if words[0] == "export" else []  # an epoch makes no student of use
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "understudy", *map(str, words), *force],
                capture_output=True,
                text=True,
            )
            results[words[0]] = "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-200:]}"
    return {"commands": results}


def _lacks(facts: dict[str, object], tested: list[str]) -> bool:
    return "methods" in facts and any(name not in facts["methods"] for name in tested)  # type: ignore[operator]


def facts_of(teacher: Named, student: Named, tested: list[str], before: dict[str, object]) -> dict[str, object]:
    """The last map of the teacher, and of each method why it does not work on the pair, empty where it does.

    Methods that worked ``before`` are not tried again.
    """
    size = max(teacher[2], student[2])
    results = {name: reason for name, reason in before.get("methods", {}).items() if not reason}  # type: ignore[attr-defined]
    try:
        network = made(teacher[0], teacher[1], size)
    except Exception as error:  # whatever a network raises
        return {"map": {"error": _line(error)}, "methods": results}
    family = type(inner(network)).__module__
    last: dict[str, object] = {"family": family}
    try:
        last |= map_of(network, size)
    except UserError as error:
        last |= {"right": False, "tap": str(error)}
    torch.manual_seed(0)
    images = torch.rand(SAMPLES, 3, size, size)
    try:
        learner = made(student[0], student[1], size)
        rules = proposed(network, learner, images[:2])
    except Exception as error:
        return {"map": last, "error": _line(error), "methods": results}
    for name in (name for name in tested if name not in results):
        method = methods.find(name)
        taps = {key: rules[method.proposed_by.get(key, key)] for key in method.needed}
        try:
            for given in taps.values():
                if isinstance(given, UserError):
                    raise given
            own = made(student[0], student[1], size) if method.grafts else learner
            results[name] = tried(name, taps, network, own, images)
        except Exception as error:  # an error of any kind is what is looked for
            once = re.search(r"derivative for '?(?:aten::)?(\w+?)(?:_backward)?'? is not implemented", str(error))
            results[name] = f"PyTorch cannot differentiate the gradient of {once[1]}" if once else _line(error)
    return {"map": last, "methods": results}


def failed(facts: dict[str, object]) -> dict[str, str]:
    """What did not work on a pair, and why."""
    if "map" not in facts:
        results = facts.get("commands", facts)
        return {name: str(reason) for name, reason in results.items() if reason and name != "commit"}  # type: ignore
    wrong = {name: reason for name, reason in facts["methods"].items() if reason}  # type: ignore[attr-defined]
    wrong |= {"error": facts["error"]} if "error" in facts else {}
    wrong |= {"error": facts["map"]["error"]} if "error" in facts["map"] else {}  # type: ignore[operator, index]
    return wrong if facts["map"].get("right", True) else wrong | {"maps": str(facts["map"]["tap"])}  # type: ignore


def commit() -> str:
    """The commit of the code, with a plus where files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=7"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"


def page(state: State) -> str:
    """The page of all facts."""
    calls = {key.removeprefix(CALL): facts for key, facts in state.items() if key.startswith(CALL)}
    commands = {key.removeprefix(COMMANDS): facts for key, facts in state.items() if key.startswith(COMMANDS)}
    built = {key: facts for key, facts in state.items() if "map" in facts and "error" not in facts["map"]}  # type: ignore[operator]
    maps = {key.partition(" -> ")[0]: facts["map"] for key, facts in built.items()}
    done = {key: facts["methods"] for key, facts in built.items() if "error" not in facts}
    families = {facts["family"] for facts in maps.values()}  # type: ignore[index]
    right = sum(bool(facts["right"]) for facts in maps.values())  # type: ignore[index]
    tested = sorted({name for results in done.values() for name in results} - set(ELSEWHERE))  # type: ignore[attr-defined]
    whole = sum(not any(results.values()) for results in done.values())  # type: ignore[attr-defined]
    distilled = sum(not facts["call"] for facts in calls.values())
    back = sum(facts.get("back") == "" for facts in calls.values())
    commits = Counter(str(facts["commit"]) for facts in state.values())
    lines = [
        "# The zoo",
        "",
        f"{len(maps)} networks of {len(families)} families (modules of timm, torchvision and transformers), random",
        "weights, images of 64 pixels where the network allows. The networks stand in a ring: each teaches the next.",
        "",
        f"- **{distilled} of the {len(calls)} pairs that were tried, of {len(names())}, distil from images without",
        "  labels in one call with no tap named**,",
        "  `understudy.distill(teacher, student, images, config=...)`, soft targets by the default method.",
        f"  {back} of these students come back through `understudy.load` with the same answers.",
        f"- The proposed last map is right on {right} of {len(maps)} networks.",
        f"- On {whole} of {len(done)} pairs all {len(tested)} methods that read maps or pairs work with the taps that",
        "  they propose.",
        f"- `python -m understudy predict` and `export` take the run folders of {_listed(commands)},",
        "  whose networks were objects.",
        "",
        f"Made by `make test-zoo` (`python scripts/zoo.py`) with torch {torch.__version__}, timm {version('timm')},",
        f"torchvision {version('torchvision')}, transformers {version('transformers')}, at "
        + ", ".join(f"{commit} ({count} facts)" for commit, count in commits.items())
        + ".",
        "`--again` tries once more what failed at an earlier commit, and methods that are new; what worked is not",
        "tried again.",
        "",
        "A method works if its objective is built and finite, and no term's gradient on the student is below 1e-4 of",
        "the largest term's, at the weights of the papers and for fresh weights. It *refuses* a pair by one line that",
        "says what it needs; the check before a training prints the same line. *Small* is such a gradient below 1e-4,",
        "of which the check warns. The table says what runs, not what helps.",
        "",
        "| method | works on pairs | refuses | small | fails | of |",
        "|---|---|---|---|---|---|",
        *(_counted(name, done) for name in tested),
        "",
        *LAWS,
        "",
        "## Calls that do not work",
        "",
        "| teacher | student | reason |",
        "|---|---|---|",
    ]
    for pair, facts in sorted(calls.items()):
        teacher, _, student = pair.partition(" -> ")
        lines += [f"| {teacher} | {student} | {_short(reason)} |" for reason in failed(facts).values()]
    lines += ["", "## Pairs", "", "| teacher | student | all methods but |", "|---|---|---|"]
    reasons: dict[str, list[str]] = {}
    for pair, results in sorted(done.items()):
        teacher, _, student = pair.partition(" -> ")
        wrong = {name: reason for name, reason in results.items() if reason}  # type: ignore[attr-defined]
        lines.append(f"| {teacher} | {student} | {', '.join(f'`{name}`' for name in wrong)} |")
        for name, reason in wrong.items():
            reasons.setdefault(f"`{name}`: {_short(reason)}", []).append(pair)
    lines += ["", "## Why not", "", "| method and reason | pairs |", "|---|---|"]
    lines += [f"| {reason} | {len(of)}, as {of[0]} |" for reason, of in sorted(reasons.items())]
    lines += ["", "## Last maps", "", "| network | last map | shape | the classifier answers from its mean | right |"]
    lines += ["|---|---|---|---|---|"]
    for name, last in sorted(maps.items()):
        shape = "x".join(map(str, last.get("shape", [])))  # type: ignore[attr-defined]
        yes = {True: "yes", False: "no", None: ""}
        lines.append(
            f"| {name} | `{last['tap']}` | {shape} | {yes[last.get('pooled')]} | {yes[bool(last['right'])]} |"  # type: ignore
        )
    missed = {key: failed(facts)["error"] for key, facts in state.items() if "error" in failed(facts)}
    if missed:
        lines += ["", "Not tried: " + ", ".join(f"{key} ({_short(reason)})" for key, reason in missed.items())]
    return "\n".join(lines) + "\n"


def _counted(name: str, done: Mapping[str, object]) -> str:
    results = [each[name] for each in done.values() if name in each]  # type: ignore[index, operator]
    kinds = Counter(_kind(reason) for reason in results)
    counts = " | ".join(str(kinds[kind]) for kind in ("works", "refuses", "small", "fails"))
    return f"| `{name}` | {counts} | {len(results)} |"


def _kind(reason: str) -> str:
    if not reason:
        return "works"
    if reason.startswith("dead: "):
        return "small"
    return "fails" if re.match(r"[A-Z]\w+(Error|Exception): ", reason) or "not finite" in reason else "refuses"


def _listed(commands: Mapping[str, dict[str, object]]) -> str:
    good = [name for name, facts in commands.items() if not failed(facts)]
    return ", ".join(good) or "no network"


def _short(reason: str) -> str:
    """A reason in one cell, without the places of files."""
    return re.sub(r" ?\(/[^)]*\)?", "", " ".join(reason.split()))[:160].replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=ROOT / "runs" / "zoo.json", help="the facts of all pairs so far")
    parser.add_argument("--calls", action="store_true", help="the calls and commands alone")
    parser.add_argument("--facts", action="store_true", help="the last maps and methods alone")
    parser.add_argument("--again", action="store_true", help="try once more what failed")
    parser.add_argument("--only", default="", help="only pairs with this word in their names")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "zoo.md", help="the page")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    state = json.loads(given.state.read_text()) if given.state.exists() else {}
    run(state, given.state, given.calls, given.facts, given.again, given.only)
    given.out.write_text(page(state))
    calls = {key: facts["call"] for key, facts in state.items() if key.startswith(CALL)}
    distilled = sum(not reason for reason in calls.values())
    wrong = [key for key, facts in state.items() if not facts.get("map", {}).get("right", True)]  # type: ignore[attr-defined]
    if distilled < ENOUGH * len(calls) or wrong:
        sys.exit(f"{distilled} of {len(calls)} calls work; the last map is wrong on {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
