"""A small plan for the tests of engines and stores: a teacher is trained, two students learn, on two seeds."""

from pathlib import Path

RECIPE = """
seeds = [0, 1]
[data]
name = "folder"
root = "pictures"
size = 8
validation = 15
[teacher]
network = "resnet8"
settings = { widths = [8, 8, 8] }
train = { epochs = 6 }
[student]
network = "smallnets:student"
[settings]
threads = 1
[train]
epochs = 2
batch = 15
optimizer = { name = "sgd", lr = 0.05 }
[methods.alone]
[methods.kd]
"""
TRAININGS = ["teacher-0", "alone-0", "kd-0", "teacher-1", "alone-1", "kd-1"]


def students(folder: Path) -> dict[str, bytes]:
    """The bytes of every training's weights: what must be equal, whoever made them."""
    return {path.parent.name: path.read_bytes() for path in sorted(folder.glob("trainings/*/student.safetensors"))}
