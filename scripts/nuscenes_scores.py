"""The figures of nuScenes' development kit for made boxes, for tests/tasks/test_detection3d.py: nuscenes_scores.json.

Usage: PYTHONPATH=. python scripts/nuscenes_scores.py > tests/tasks/nuscenes_scores.json, in an environment with
nuscenes-devkit (1.2.0 was used). It asks for NumPy below 2, and is therefore no package that the tests install.
"""

import json
import math
from importlib.metadata import version

import numpy as np
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection import algo
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionMetrics

from tests.tasks.scenes import NUSCENES, judged

SEEDS = 6


def by_the_kit(samples):
    """The figures of the development kit: boxes in its classes, its accumulation, its means."""

    config, sides = config_factory("detection_cvpr_2019"), (EvalBoxes(), EvalBoxes())
    for number, (boxes, scores, classes, objects, labels) in enumerate(samples):
        for side, rows, kinds, sure in ((0, objects, labels, None), (1, boxes, classes, scores)):
            sides[side].add_boxes(str(number), [
                DetectionBox(
                    sample_token=str(number), translation=tuple(row[:3]), size=(row[4], row[3], row[5]),
                    rotation=(math.cos(row[6] / 2), 0.0, 0.0, math.sin(row[6] / 2)), velocity=tuple(row[7:]),
                    detection_name=NUSCENES[kind], detection_score=-1.0 if sure is None else float(sure[place]),
                    attribute_name="vehicle.moving" if sure is None and kind < 8 else "",
                )
                for place, (row, kind) in enumerate(zip(rows, kinds, strict=True))
            ])  # fmt: skip
    metrics = DetectionMetrics(config)
    for name in config.class_names:
        for distance in config.dist_ths:
            data = algo.accumulate(*sides, name, config.dist_fcn_callable, distance)
            metrics.add_label_ap(name, distance, algo.calc_ap(data, config.min_recall, config.min_precision))
            if distance == config.dist_th_tp:
                for error in TP_METRICS:
                    cone = name == "traffic_cone" and error in ("attr_err", "vel_err", "orient_err")
                    none = cone or (name == "barrier" and error in ("attr_err", "vel_err"))
                    value = np.nan if none else algo.calc_tp(data, config.min_recall, error)
                    metrics.add_label_tp(name, error, value)
    errors = {
        "translation": metrics.tp_errors["trans_err"], "scale": metrics.tp_errors["scale_err"],
        "orientation": metrics.tp_errors["orient_err"], "velocity": metrics.tp_errors["vel_err"],
    }  # fmt: skip
    return {"map": metrics.mean_ap, "nds": metrics.nd_score, **errors}


if __name__ == "__main__":
    figures = [by_the_kit(judged(seed)) for seed in range(SEEDS)]
    print(json.dumps({"nuscenes-devkit": version("nuscenes-devkit"), "figures": figures}, indent=1))
