"""Made scenes: cars and pedestrians as clusters of points on a ground plane, all of it functions of a generator."""

import math

import numpy as np
import torch

SIZES = {0: (3.0, 1.5, 1.2), 1: (0.7, 0.7, 1.7)}  # length, width and height of a car and a pedestrian
NAMES = ["car", "pedestrian"]
GROUND = -1.5
NUSCENES = (
    "car", "truck", "bus", "trailer", "construction_vehicle", "pedestrian", "motorcycle", "bicycle", "traffic_cone",
    "barrier",
)  # fmt: skip


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(*shape, generator=generator)


def points_on(box, count, generator):
    """Points on the walls of a box, with an intensity."""
    x, y, z, length, width, height, heading = box[:7]
    walls = uniform(generator, -0.5, 0.5, count, 3)
    wall = torch.randint(0, 4, (count,), generator=generator)
    axis = wall % 2
    walls[torch.arange(count), axis] = torch.where(wall < 2, -0.5, 0.5)
    own = walls * torch.tensor([length, width, height])
    cosine, sine = math.cos(heading), math.sin(heading)
    turned = torch.stack((own[:, 0] * cosine - own[:, 1] * sine, own[:, 0] * sine + own[:, 1] * cosine, own[:, 2]), 1)
    return torch.cat((turned + torch.tensor([x, y, z]), uniform(generator, 0.2, 0.8, count, 1)), 1)


def scene(generator, side=8.0, ground=20, dense=16, velocity=False):
    """A cloud (points, 4), and its target: one to three objects that do not touch each other."""
    boxes, classes = [], []
    for _ in range(int(torch.randint(1, 4, (), generator=generator))):
        kind = int(torch.randint(0, 2, (), generator=generator))
        length, width, height = SIZES[kind]
        x, y, heading = (float(uniform(generator, -end, end, ())) for end in (side / 2 - 1, side / 2 - 1, math.pi))
        if all(math.hypot(x - other[0], y - other[1]) > 3 for other in boxes):
            speed = [math.cos(heading), math.sin(heading)] if velocity else []
            boxes.append([x, y, GROUND + height / 2, length, width, height, heading, *speed])
            classes.append(kind)
    plane = uniform(generator, -side / 2, side / 2, ground, 4)
    plane[:, 2], plane[:, 3] = GROUND, 0.1
    clusters = [points_on(box, dense * (2 - kind), generator) for box, kind in zip(boxes, classes, strict=True)]
    return torch.cat((plane, *clusters)), {"boxes": boxes, "classes": classes}


def scenes(count, seed=0, **settings):
    """Clouds and targets as lists."""
    generator = torch.Generator().manual_seed(seed)
    made = [scene(generator, **settings) for _ in range(count)]
    return [cloud for cloud, _ in made], [target for _, target in made]


def judged(seed):
    """Objects, and detections near them or anywhere: unknown velocities, equal scores, a class without objects."""
    drawn, found = np.random.RandomState(seed), []
    for _ in range(15):
        count = drawn.randint(0, 9)
        objects = np.column_stack([
            drawn.uniform(-30, 30, (count, 2)), drawn.uniform(-1, 1, count), drawn.uniform(0.5, 5, (count, 3)),
            drawn.uniform(-4, 4, count), drawn.normal(0, 2, (count, 2)),
        ])  # fmt: skip
        objects[drawn.uniform(size=count) < 0.2, 7:] = np.nan
        labels = drawn.randint(0, 9 if seed % 2 else 10, count)
        near = objects + drawn.normal(0, 1, objects.shape) * [0.8, 0.8, 0.3, 0.2, 0.2, 0.2, 0.7, 0.5, 0.5]
        near = np.concatenate([near, near[:2] + 0.1, drawn.uniform(-30, 30, (5, 9))])
        near[:, 3:6] = np.abs(near[:, 3:6]) + 0.1
        classes = np.concatenate([labels, labels[:2], drawn.randint(0, 10, 5)])
        scores = drawn.randint(1, 40, len(near)) / 40
        found.append((np.nan_to_num(near), scores, classes, objects, labels))
    return found
