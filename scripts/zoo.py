"""Which method works on which networks of timm, torchvision and transformers? Random weights, small images.

    make test-zoo                                       # all pairs, into results/zoo.md; about half an hour on 2 cores
    python scripts/zoo.py --part 1/4 --json part1.json  # a quarter of them
    python scripts/zoo.py --join part1.json part2.json  # the page of several parts

The networks stand in a ring, mixed by a fixed seed: each teaches the next one, so each is a teacher once and a student
once. Of every network the proposed last map is checked, and every method that reads maps or pairs goes through the
pre-flight check with the taps that it proposes: it works if the check has no error, and no term whose gradient on the
student is below 1e-4 of the largest term's.
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

from understudy import data as datasets
from understudy import methods
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.models import build
from understudy.plans.stages import method_stages
from understudy.taps import TappedNetwork, call, evaluating, inner
from understudy.taps.stages import gives_the_answer, head_on, last_map
from understudy.taps.tracing import trace
from understudy.training.preflight import check_stage

ROOT = Path(__file__).resolve().parent.parent
CLASSES, SAMPLES = 10, 4
READING = ("maps", "pairs", "pair")  # settings of the methods that are tried

TIMM = [
    "resnet10t",
    "resnet18",
    "resnet26d",
    "resnetv2_50",
    "resnext26ts",
    "seresnext26d_32x4d",
    "gcresnext26ts",
    "ecaresnet26t",
    "res2net50_26w_4s",
    "resnest14d",
    "skresnet18",
    "selecsls42b",
    "densenet121",
    "vgg11_bn",
    "vgg13",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_hybrid_medium",
    "mobilenetv1_100",
    "mobileone_s0",
    "efficientnet_b0",
    "efficientnet_lite0",
    "tinynet_e",
    "mnasnet_100",
    "fbnetc_100",
    "spnasnet_100",
    "lcnet_050",
    "semnasnet_075",
    "tf_efficientnetv2_b0",
    "hardcorenas_a",
    "mixnet_s",
    "rexnet_100",
    "ghostnet_100",
    "ghostnetv2_100",
    "hrnet_w18_small",
    "regnetx_002",
    "regnety_002",
    "dla34",
    "dpn48b",
    "cspresnet50",
    "cspdarknet53",
    "darknet53",
    "repvgg_a0",
    "vovnet39a",
    "ese_vovnet19b_dw",
    "xception41",
    "inception_v4",
    "hgnetv2_b0",
    "nfnet_l0",
    "nf_resnet26",
    "convnext_atto",
    "convnextv2_atto",
    "inception_next_atto",
    "convmixer_768_32",
    "poolformer_s12",
    "starnet_s1",
    "edgenext_xx_small",
    "fasternet_t0",
    "repghostnet_050",
    "repvit_m0_9",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_b0",
    "efficientvit_m0",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "fastvit_t8",
    "shvit_s1",
    "tiny_vit_5m_224",
    "levit_128s",
    "coat_lite_tiny",
    "pvt_v2_b0",
    "twins_svt_small",
    "pit_ti_224",
    "pit_ti_distilled_224",
    "crossvit_tiny_240",
    "cait_xxs24_224",
    "xcit_nano_12_p16_224",
    "convit_tiny",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "beit_base_patch16_224",
    "eva02_tiny_patch14_224",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "swin_s3_tiny_224",
    "mixer_s32_224",
    "resmlp_12_224",
    "gmlp_ti16_224",
    "visformer_tiny",
    "focalnet_tiny_srf",
    "davit_tiny",
    "mvitv2_tiny",
    "maxvit_tiny_rw_224",
    "coatnet_nano_rw_224",
    "hiera_tiny_224",
    "sequencer2d_s",
    "nest_tiny",
    "volo_d1_224",
    "gcvit_xxtiny",
    "nextvit_small",
    "caformer_s18",
    "rdnet_tiny",
    "vitamin_small_224",
    "tnt_s_patch16_224",
    "mambaout_femto",
    "efficientnet_es",
    "cs3darknet_s",
    "tresnet_m",
    "haloregnetz_b",
    "bat_resnext26ts",
    "lambda_resnet26t",
    "botnet26t_256",
]
TORCHVISION = [
    "resnet18",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "vgg11_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
    "regnet_y_400mf",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "mnasnet0_5",
    "googlenet",
    "swin_t",
    "vit_b_32",
    "alexnet",
]
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
SIZES = {
    "inception_v4": 96,
    "xception41": 96,
    "nest_tiny": 128,
    "hiera_tiny_224": 224,
    "crossvit_tiny_240": 240,
    "alexnet": 96,
}


def names() -> list[tuple[str, dict[str, object], int]]:
    """Every network with its settings and the size of its images."""
    found: list[tuple[str, dict[str, object], int]] = [(f"timm:{name}", {}, SIZES.get(name, 64)) for name in TIMM]
    found += [(f"torchvision:{name}", {}, SIZES.get(name, 64)) for name in TORCHVISION]
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


def tried(name: str, teacher: nn.Module, student: nn.Module, data: datasets.Data) -> str:
    """Empty where a method works, else why not."""
    settings = Settings(device="cpu", channels_last=False, threads=torch.get_num_threads())
    try:
        stages = method_stages(name, TrainConfig(epochs=4, batch=SAMPLES), {}, student, teacher, data)
    except UserError as error:
        return str(error)
    for stage in stages:
        for finding in check_stage(stage, student, [teacher], data, settings, timed=False):
            dead = finding.level == "warning" and ("trains next to nothing" in finding.text or "are 0" in finding.text)
            if finding.level == "error" or dead:
                return f"{finding.subject}: {finding.text}"
    return ""


def run(part: str) -> dict[str, object]:
    """The pairs of a part, such as "1/4"."""
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
            networks[of_teacher] = {"error": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}
            print(f"{of_teacher}: {networks[of_teacher]}", file=sys.stderr, flush=True)
            continue
        family = type(inner(teacher)).__module__
        try:
            networks[of_teacher] = {"family": family, **map_of(teacher, size)}
        except UserError as error:
            networks[of_teacher] = {"family": family, "right": False, "tap": str(error)}
        torch.manual_seed(0)
        data = datasets.from_tensors(torch.rand(SAMPLES, 3, size, size), torch.arange(SAMPLES) % CLASSES, validation=0)
        results: dict[str, str] = {}
        try:
            student = made(of_student, others, size)
        except Exception as error:
            pairs[f"{of_teacher} -> {of_student}"] = {"error": f"{type(error).__name__}: {str(error).splitlines()[:1]}"}
            continue
        for name in tested:
            learner = made(of_student, others, size) if methods.find(name).grafts else student
            try:
                results[name] = tried(name, teacher, learner, data)
            except Exception as error:
                results[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        pairs[f"{of_teacher} -> {of_student}"] = results
        wrong = {name: reason[:150] for name, reason in results.items() if reason}
        seconds = time.monotonic() - began
        print(f"{place} {of_teacher} -> {of_student} {seconds:.0f} s: {networks[of_teacher]}", file=sys.stderr)
        for name, reason in wrong.items():
            print(f"    {name}: {reason}", file=sys.stderr, flush=True)
    return {"networks": networks, "pairs": pairs}


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
        f"Made by `make test-zoo` (`python scripts/zoo.py`) at commit {commit.strip()}, with torch {torch.__version__}.",
        "A method works if the pre-flight check has no error and warns of no term whose gradient on the student is below",
        "1e-4 of the largest term's. Nothing was trained: the table says what runs, not what helps.",
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
    parts = [json.loads(path.read_text()) for path in given.join] if given.join else [run(given.part)]
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
