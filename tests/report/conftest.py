"""Run folders as a run leaves them, written without training anything."""

import copy
import io
import json
import math
import statistics

import pytest
from PIL import Image

LATENCY = {"p95": 4.25, "batch": 1, "threads": 2}
THROUGHPUT = {"p95": 310.5, "batch": 128, "threads": 2}
RECIPE = 'seeds = [0, 1, 2]\n\n[student]\nnetwork = "resnet14"\n'
SEEDS = (0, 1, 2)
FIGURES = [
    {"name": "accuracy", "title": "accuracy", "better": "higher", "unit": "share", "chance": 0.5},
    {"name": "top5", "title": "top-5 accuracy", "better": "higher", "unit": "share"},
    {"name": "calibration_error", "title": "calibration error", "better": "lower", "unit": "share"},
    {"name": "agreement", "title": "agrees with the teacher", "better": "higher", "unit": "share"},
    {"name": "divergence", "title": "KL from the teacher", "better": "lower", "unit": ""},
    {"name": "loss", "title": "loss", "better": "lower", "unit": ""},
]
ACCURACIES = {"alone": 0.8553, "kd": 0.8671, "fitnets": 0.8702}
OBJECTIVES = {
    "alone": {"labels": "CE()"},
    "kd": {"soft targets": "0.1 * CE() + 0.9 * KD(temperature=4.0)"},
    "fitnets": {"hint": "Hint(pair='layer2 -> layer2')", "soft targets": "CE() + KD(temperature=3.0)"},
}


def spread(values):
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"values": values, "mean": statistics.fmean(values), "sd": sd}


def network(name, parameters, multiplications, milliseconds):
    return {
        "network": name,
        "parameters": parameters,
        "bytes": 4 * parameters,
        "multiplications": multiplications,
        "latency_ms": {"p50": milliseconds, **LATENCY},
        "throughput_ms": {"p50": 50 * milliseconds, **THROUGHPUT},
    }


def epochs(training, stages, accuracy, count=30):
    """What a training logs: falling losses, and a rising accuracy where the stage has one."""
    for stage, objective in stages.items():
        terms = [name.lower() for name in ("CE", "KD", "Hint") if f"{name}(" in objective]
        for epoch in range(1, count + 1):
            rest = math.exp(-epoch / 8)
            found = {"loss": 0.3 + rest}
            if "hint" not in terms:
                found["accuracy"] = accuracy - 0.4 * rest
            yield {
                "training": training,
                "stage": stage,
                "epoch": epoch,
                "lr": 0.1,
                "loss": 0.3 + 2 * rest,
                "terms": {term: (number + 1) * 0.1 + 2 * rest for number, term in enumerate(terms)},
                "weights": dict.fromkeys(terms, 1.0),
                "gradient_shares": {term: 1 / len(terms) for term in terms} if len(terms) > 1 else {},
                "train": {} if "hint" in terms else {"accuracy": accuracy - 0.3 * rest},
                "seconds": 2.0 * epoch,
                "validation": found,
            }


def ended(training, stages, count=30):
    return {
        "format": 1,
        "training": training,
        "stages": [{"stage": name, "epochs": count, "kept": "best", "best_epoch": count - 2} for name in stages],
        "objectives": stages,
        "seconds": 61.5,
    }


def method(name, seeds):
    rows = [
        {
            "seed": seed,
            "training": f"{name}-{seed}",
            "figures": {
                "accuracy": ACCURACIES[name] + 0.0011 * place - 0.0008,
                "loss": 0.41,
                "agreement": 0.9 + 0.001 * place,
            },
            "validation": {"accuracy": ACCURACIES[name] + 0.002 * place, "loss": 0.4},
            "seconds": 61.5 + place,
            "kept": "best",
        }
        for place, seed in enumerate(seeds)
    ]
    figures = {key: spread([row["figures"][key] for row in rows]) for key in ("accuracy", "agreement")}
    return {
        "method": name,
        "trainings": rows,
        "taught": name != "alone",
        "objectives": OBJECTIVES[name],
        "figures": figures,
        "seconds": spread([row["seconds"] for row in rows]),
    }


def verdict(name, word):
    gain = 100 * (ACCURACIES[name] - ACCURACIES["alone"])
    sentence = f"{name} {word} the student alone by {gain:.2f} points, more than the spread of 0.22 over 3 seeds."
    return {"verdict": word, "gain": gain, "spread": 0.22, "sentence": sentence}


def result(methods=tuple(ACCURACIES), seeds=SEEDS):
    return {
        "format": 1,
        "title": "The demo's student",
        "command": "understudy distill demo.toml --out runs/demo",
        "versions": {"understudy": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "machine": {"system": "Linux x86_64", "processor": "A processor", "cores": 2, "threads": 2},
        "seeds": list(seeds),
        "data": {
            "name": "demo",
            "train": 4500,
            "validation": 500,
            "measured_on": "test",
            "measured": 5000,
        },
        "task": {"name": "classification", "figures": FIGURES, "options": ["T-shirt/top", "Bag"]},
        "networks": {
            "teacher": network("wrn16, widen=2", 691674, 98721792, 3.81),
            "student": network("resnet14, widths=[8, 16, 16]", 20218, 4012032, 1.02),
        },
        "teacher": {"figures": {"accuracy": spread([0.9312] * len(seeds)), "loss": spread([0.2] * len(seeds))}},
        "methods": {name: method(name, seeds) for name in methods},
        "verdicts": {name: verdict(name, "beats") for name in methods if name != "alone"},
        "kept": f"{methods[-1]}-{seeds[-1]}",
    }


def sample(number, file, wrong, target, student, teacher):
    said = {"student_confidence": 0.98, "teacher_confidence": 0.7}
    names = {"target": target, "student": student, "teacher": teacher}
    return {"id": number, "file": f"samples/{file}.png", "wrong": wrong, **names, **said}


def bins(shift=0.0, count=100):
    return [{"confidence": c / 10 + 0.05, "share": min(c / 10 + shift, 1.0), "count": count + c} for c in range(2, 10)]


def measured(content):
    """The same result with what a run measures of answers and inner values."""
    methods = content["methods"]
    for place, found in enumerate(methods.values()):
        found["measures"] = {
            "options": [0.8 + 0.02 * place, 0.7 - 0.01 * place],
            "calibration": bins(0.02 * place),
            "agreement": bins(0.01 * place),
            "logit": {"option": "Bag", "low": -4.0 - place, "high": 9.0, "counts": [10, 5, 1, 4]},
        }
        for key in ("top5", "calibration_error", "divergence", "loss"):
            found["figures"][key] = spread(
                [0.1 + 0.01 * place + 0.001 * seed for seed in range(len(found["trainings"]))]
            )
    content["teacher"]["measures"] = {"options": [0.95, 0.9], "calibration": bins()}
    content["teacher"]["measures"]["logit"] = {"option": "Bag", "low": -6.0, "high": 12.0, "counts": [12, 2, 1, 5]}
    content["teacher"]["figures"]["calibration_error"] = spread([0.01] * 3)
    content["teacher"]["softness"] = {"entropy": 0.2, "temperature": 4.0, "softened": 0.6, "most": 0.69, "hint": None}
    content["errors"] = {
        "student": {"count": 450, "ids": [1, 2]},
        "teacher": {"count": 90, "ids": [3]},
        "both": 242,
    }
    content["samples"] = [
        sample(1, "1", "student", "T-shirt/top", "Bag", "T-shirt/top"),
        sample(3, "3", "teacher", "Bag", "Bag", "T-shirt/top"),
        sample(4, "gone", "both", "Bag", "T-shirt/top", "Coat"),
    ]
    content["similarity"] = {
        "teacher": ["conv1", "layer1", "layer2"],
        "student": ["conv1", "a.very.long.path.of.a.layer"],
        "samples": 512,
        "tapped": {"fitnets": [["layer1", "conv1"], ["elsewhere", "conv1"]]},
        "methods": {name: [[0.9, 0.5], [0.6, 0.85], [0.1, -0.02]] for name in methods},
    }
    content |= {"notes": ["kd adds nothing"], "measuring_seconds": 4.2, "memory": {"process": 500_000_000}}
    content["networks"]["student"]["activation_bytes"] = 31_360
    content["networks"]["teacher"]["activation_bytes"] = 156_800
    return content


def picture():
    file = io.BytesIO()
    Image.new("L", (8, 8), 200).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def finished(tmp_path):
    """Writes a finished run folder: ``finished(content, recipe=..., metrics=...)``."""

    def write(
        content=None, *, recipe='seeds = [0, 1, 2]\n\n[student]\nnetwork = "resnet14"\n', metrics=True, name="run"
    ):
        content = result() if content is None else content
        run = tmp_path / name
        run.mkdir()
        (run / "result.json").write_text(json.dumps(content))
        (run / "recipe.toml").write_text(recipe)
        lines = []
        for found in content.get("methods", {}).values():
            for row in found.get("trainings", []):
                stages = found.get("objectives") or {"labels": "CE()"}
                folder = run / "trainings" / row["training"]
                folder.mkdir(parents=True)
                (folder / "result.json").write_text(json.dumps(ended(row["training"], stages)))
                lines += epochs(row["training"], stages, (row.get("validation") or {}).get("accuracy", 0.8))
        for sample in content.get("samples", []):
            (run / "samples").mkdir(exist_ok=True)
            if "gone" not in sample["file"]:
                (run / sample["file"]).write_bytes(picture())
        if metrics:
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return write


@pytest.fixture
def content():
    """A result, to be changed at will."""
    return copy.deepcopy(result())


@pytest.fixture
def make_result():
    return result


@pytest.fixture
def whole(content):
    """A result with everything that a run measures."""
    return measured(content)


@pytest.fixture
def several(finished, make_result):
    """Run folders of students of several widths, the wider the better."""

    def write(accuracies=(0.80, 0.85, 0.88, 0.9, 0.905, 0.93), methods=("alone", "kd"), **changes):
        runs = []
        for place, accuracy in enumerate(accuracies):
            found = measured(make_result(methods))
            found["networks"]["student"] = network(f"width {place}", 10_000 * (place + 1), 10**6, 0.5 * (place + 1))
            for gain, name in enumerate(methods):
                values = [accuracy + 0.01 * gain + 0.001 * seed for seed in range(3)]
                found["methods"][name]["figures"]["accuracy"] = spread(values)
                for row, value in zip(found["methods"][name]["trainings"], values, strict=True):
                    row["figures"]["accuracy"], row["validation"] = value, {"accuracy": value + 0.002}
            found |= changes
            runs.append(finished(found, name=f"width{place}", metrics=False))
        return runs

    return write
