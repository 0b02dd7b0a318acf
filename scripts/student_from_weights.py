"""A network that was trained elsewhere, as a student's folder: so that it can be exported, and predict.

python scripts/student_from_weights.py resnet20 akamaster_resnet20-12fca82f.th --settings shortcut=A \
    --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 --data cifar10 --out runs/resnet20
"""

import argparse
from pathlib import Path

from understudy import data as datasets
from understudy.models import NetworkSpec, Normalized, load_weights, student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", help="by name, as in a recipe")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="of the network, as text")
    parser.add_argument("--mean", nargs="+", type=float, required=True)
    parser.add_argument("--std", nargs="+", type=float, required=True)
    parser.add_argument("--data", required=True, help="the data set whose shape and classes it has")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    data = datasets.load(given.data, given.root)
    spec = NetworkSpec(given.network, dict(setting.split("=", 1) for setting in given.settings))
    network = spec.build(len(data.classes), data.shape[0], data.shape[-1])
    load_weights(network, given.weights)
    whole = Normalized(network, given.mean, given.std)
    student.save(given.out, whole, student.describe(whole, spec, data.shape, data.classes))


if __name__ == "__main__":
    main()
