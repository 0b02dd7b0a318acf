"""Which method works on which networks of timm, torchvision and transformers? Random weights, small images.

    make test-zoo                                       # all pairs, into results/zoo.md; an hour or more on 2 cores
    python scripts/zoo.py --part 1/4 --json part1.json  # a quarter of them
    python scripts/zoo.py --join part1.json part2.json  # the page of several parts

The networks stand in a ring, mixed by a fixed seed: each teaches the next one, so each is a teacher once and a student
once. Of every network the proposed last map is checked, and every method that reads maps or pairs is built with
the taps that it proposes: it works if that raises no error, and no term's gradient on the student is below 1e-4 of the
largest term's, the ratio of the pre-flight check.
"""

import argparse
import json
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from understudy import Objective, methods
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.models import build
from understudy.objective.term import Facts
from understudy.taps import TappedNetwork, call, evaluating, inner
from understudy.taps.defaults import PROPOSALS
from understudy.taps.stages import gives_the_answer, head_on, last_map
from understudy.taps.tracing import trace
from understudy.training.preflight import DEAD

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "scripts" / "zoo.txt"
CLASSES, SAMPLES = 10, 4
READING = ("maps", "pairs", "pair")  # settings of the methods that are tried

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
}


def names() -> list[tuple[str, dict[str, object], int]]:
    """Every network with its settings and the size of its images."""
    found: list[tuple[str, dict[str, object], int]] = []
    library = ""
    for word in " ".join(line for line in LIST.read_text().splitlines() if not line.startswith("#")).split():
        if word.endswith(":"):
            library = word
        else:
            found.append((library + word, {}, SIZES.get(word, 64)))
    return found + [(f"transformers:{name}", dict(settings), 64) for name, settings in TRANSFORMERS.items()]


def made(name: str, settings: dict[str, object], size: int) -> nn.Module:
    """A network with fresh weights, whose batch norms have seen a batch."""
    torch.manual_seed(0)
    network = build(name, classes=CLASSES, channels=3, size=size, **settings)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            call(network, torch.randn(SAMPLES, 3, size, size))
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
        norms = {
            term: _norm(weighted, student if objective.parts[term].term.trains_student else objective.owned)
            for term, weighted in outcome.weighted.items()
        }
        for term, norm in norms.items():
            if not norm > DEAD * max(norms.values()):
                return f"dead: the gradient of {term!r} on the student is below {DEAD:g} of the largest"
    return ""


def _norm(loss: torch.Tensor, network: nn.Module) -> float:
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return float(sum(g.double().square().sum() for g in gradients if g is not None)) ** 0.5


def proposed(teacher: nn.Module, student: nn.Module, images: torch.Tensor) -> dict[str, object]:
    """What each rule proposes for a pair, or the error with which it does not."""
    found: dict[str, object] = {}
    for rule in PROPOSALS:
        try:
            found[rule] = PROPOSALS[rule](teacher, student, images)
        except UserError as error:
            found[rule] = error
    return found


def run(part: str, file: Path | None = None) -> dict[str, object]:
    """The pairs of a part, such as "1/4"; ``file`` gets the facts after every pair."""
    number, count = map(int, part.split("/"))
    ring = names()
    random.Random(0).shuffle(ring)
    tested = [name for name in methods.METHODS if set(methods.find(name).needed) & set(READING)]
    networks: dict[str, object] = {}
    pairs: dict[str, object] = {}
    for place in range(number - 1, len(ring), count):
        (of_teacher, settings, first), (of_student, others, second) = ring[place], ring[(place + 1) % len(ring)]
        size = max(first, second)
        began = time.monotonic()
        try:
            teacher = made(of_teacher, settings, size)
        except Exception as error:
            networks[of_teacher] = {"error": _line(error)}
            print(f"{of_teacher}: {networks[of_teacher]}", file=sys.stderr, flush=True)
            continue
        family = type(inner(teacher)).__module__
        try:
            networks[of_teacher] = {"family": family, **map_of(teacher, size)}
        except UserError as error:
            networks[of_teacher] = {"family": family, "right": False, "tap": str(error)}
        torch.manual_seed(0)
        images = torch.rand(SAMPLES, 3, size, size)
        results: dict[str, str] = {}
        try:
            student = made(of_student, others, size)
            rules = proposed(teacher, student, images[:2])
        except Exception as error:  # whatever a network raises
            pairs[f"{of_teacher} -> {of_student}"] = {"error": _line(error)}
            continue
        for name in tested:
            method = methods.find(name)
            taps = {key: rules[method.proposed_by.get(key, key)] for key in method.needed}
            learner = made(of_student, others, size) if method.grafts else student
            try:
                for given in taps.values():
                    if isinstance(given, UserError):
                        raise given
                results[name] = tried(name, taps, teacher, learner, images)
            except Exception as error:  # an error of any kind is what is looked for
                results[name] = _line(error)
        pairs[f"{of_teacher} -> {of_student}"] = results
        if file is not None:
            file.write_text(json.dumps({"networks": networks, "pairs": pairs}, indent=1))
        wrong = {name: reason[:150] for name, reason in results.items() if reason}
        seconds = time.monotonic() - began
        print(f"{place} {of_teacher} -> {of_student} {seconds:.0f} s: {networks[of_teacher]}", file=sys.stderr)
        for name, reason in wrong.items():
            print(f"    {name}: {reason}", file=sys.stderr, flush=True)
    return {"networks": networks, "pairs": pairs}


def _line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"


def page(networks: dict[str, dict[str, object]], pairs: dict[str, dict[str, str]]) -> str:
    """The page of all parts."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    built = {name: facts for name, facts in networks.items() if "error" not in facts}
    families = {facts["family"] for facts in built.values()}
    right = sum(bool(facts["right"]) for facts in built.values())
    done = {pair: results for pair, results in pairs.items() if "error" not in results}
    tested = sorted({name for results in done.values() for name in results})
    whole = sum(not any(results.values()) for results in done.values())
    lines = [
        "# The zoo",
        "",
        f"{len(built)} networks of {len(families)} families (modules of timm, torchvision and transformers), random",
        f"weights, images of 64 pixels where the network allows; {len(done)} pairs, each network a teacher once and a",
        f"student once. The proposed last map is right on {right} of {len(built)}. On {whole} of {len(done)} pairs all",
        f"{len(tested)} methods that read maps or pairs work with the taps that they propose.",
        "",
        f"Made by `make test-zoo` (`python scripts/zoo.py`) at commit {commit.strip()}, torch {torch.__version__}.",
        "A method works if its objective is built and finite, and no term's gradient on the student is below 1e-4 of",
        "the largest term's. Nothing was trained: the table says what runs, not what helps.",
        "",
        "| method | works on pairs | of |",
        "|---|---|---|",
        *(f"| `{name}` | {sum(not results[name] for results in done.values())} | {len(done)} |" for name in tested),
        "",
        "## Pairs",
        "",
        "| teacher | student | all but |",
        "|---|---|---|",
    ]
    reasons: dict[str, list[str]] = {}
    for pair, results in sorted(done.items()):
        teacher, _, student = pair.partition(" -> ")
        wrong = [name for name, reason in results.items() if reason]
        lines.append(f"| {teacher} | {student} | {', '.join(f'`{name}`' for name in wrong)} |")
        for name in wrong:
            reasons.setdefault(f"`{name}`: {_short(results[name])}", []).append(pair)
    lines += ["", "## Why not", "", "| method and reason | pairs |", "|---|---|"]
    lines += [f"| {reason} | {len(of)}, as {of[0]} |" for reason, of in sorted(reasons.items())]
    lines += ["", "## Last maps", "", "| network | last map | shape | the classifier answers from its mean | right |"]
    lines += ["|---|---|---|---|---|"]
    for name, facts in sorted(built.items()):
        shape = "x".join(map(str, facts.get("shape", [])))  # type: ignore[call-overload]
        yes = {True: "yes", False: "no", None: ""}
        lines.append(
            f"| {name} | `{facts['tap']}` | {shape} | {yes[facts.get('pooled')]} | {yes[bool(facts['right'])]} |"  # type: ignore[index]
        )
    failed = {name: facts for name, facts in networks.items() if "error" in facts}
    if failed:
        lines += [
            "",
            "Not built at this size: " + ", ".join(f"{name} ({facts['error']})" for name, facts in failed.items()),
        ]
    return "\n".join(lines) + "\n"


def _short(reason: str) -> str:
    """A reason without the numbers and names of one pair."""
    return " ".join(reason.split())[:160].replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="1/1", help="which part of the pairs, as in 2/4")
    parser.add_argument("--json", type=Path, help="write the facts of this part into a file, and no page")
    parser.add_argument("--join", type=Path, nargs="+", help="files of all parts: write the page")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "zoo.md", help="the page")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    parts = [json.loads(path.read_text()) for path in given.join] if given.join else [run(given.part, given.json)]
    if given.json:
        given.json.write_text(json.dumps(parts[0], indent=1))
        return
    networks = {name: facts for part in parts for name, facts in part["networks"].items()}
    pairs = {name: results for part in parts for name, results in part["pairs"].items()}
    given.out.write_text(page(networks, pairs))
    wrong = [name for name, facts in networks.items() if "error" not in facts and not facts["right"]]
    if len(networks) < 100 or wrong:
        sys.exit(f"{len(networks)} networks; the last map is wrong on {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
