"""Soft targets, from one assistant to the next: the student sees the last one only.

Each assistant learns by soft targets from the one before it, the first from the teacher: ``label_weight CE + weight T^2
KL``, as ``kd``. The assistants are named beside the settings, ``assistants = ["plain4"]``, or ``"auto"`` takes the one
whose own accuracy is nearest the mean of the teacher's and the student's (the paper's rule).

Reference: Mirzadeh et al., "Improved knowledge distillation via teacher assistant", AAAI 2020.
Weights: the paper searches temperature and weight in 120 trials for each result and reports the best on the test part;
its choices are not published, and the defaults here are those of ``kd``. Its code averages the divergence over the
classes too, so that its soft targets are C times weaker.
"""

from understudy.methods.kd import KD
from understudy.methods.method import one_stage

METHOD = one_stage(
    "takd",
    KD,
    doc=__doc__,
    stage="soft targets",
    weight=0.9,
    label_weight=0.1,
    family="several networks",
    year=2020,
    paper="Mirzadeh et al., Improved knowledge distillation via teacher assistant",
    needs_assistants=True,
)
