"""Families as functions from size to network."""

import pytest
from torch import nn

from understudy import UserError
from understudy.models import NetworkSpec, build
from understudy.models.families import FAMILIES
from understudy.models.sizes import Sized, between, parameters, recognised

PICTURES = (3, 32, 32)


@pytest.mark.parametrize(
    ("family", "by", "size", "network"),
    [
        ("plain", None, 4, NetworkSpec("plain4")),
        ("resnet", None, 20, NetworkSpec("resnet20")),
        ("wrn", None, "16-2", NetworkSpec("wrn-16-2")),
        ("wrn-<size>-2", None, 16, NetworkSpec("wrn-16-2")),
        ("timm:resnet<size>", None, 18, NetworkSpec("timm:resnet18")),
        ("mynets:student", "depth", 7, NetworkSpec("mynets:student", {"depth": 7})),
    ],
)
def test_a_size_names_a_network_and_the_network_its_size(family, by, size, network):
    sized = Sized.of(family, by)
    assert sized.network(size) == network
    assert sized.network(size).settings == network.settings
    assert sized.size_of(network) == size
    assert sized.size_of(NetworkSpec("maxout-cifar")) is None


@pytest.mark.parametrize(
    ("family", "words"), [("plane", "no family 'plane'; did you mean 'plain'"), ("mynets:make", "<size>, or by =")]
)
def test_what_is_no_family_is_told(family, words):
    with pytest.raises(UserError, match=words):
        Sized.of(family)


def test_published_sizes_fall_in_depth_or_width_and_all_of_them_build():
    for family in FAMILIES.values():
        for sizes in filter(None, (family.sizes, family.more)):
            specs = [NetworkSpec(family.begins + size) for size in sizes]
            counts = [parameters(spec, PICTURES, 10) for spec in specs]
            assert len(set(counts)) == len(counts)
            assert counts[0] == max(counts)
            assert counts[-1] == min(counts)


def test_assistants_lie_between_student_and_teacher_and_keep_the_students_settings():
    def names(student: NetworkSpec, teacher: str) -> list[str]:
        sizes = (parameters(spec, PICTURES, 10) for spec in (student, NetworkSpec(teacher, student.settings)))
        found = between(student, *sizes, PICTURES, 10)
        assert all(spec.settings == student.settings for spec in found)
        return [spec.name for spec in found]

    assert names(NetworkSpec("plain2"), "plain10") == ["plain8", "plain6", "plain4"]
    assert names(NetworkSpec("plain2"), "resnet20") == ["plain6", "plain4"]
    several = ["resnet56", "resnet32", "resnet26", "resnet14"]
    assert names(NetworkSpec("resnet8", {"shortcut": "A"}), "resnet110") == several
    assert names(NetworkSpec("resnet8"), "resnet14") == []
    assert names(NetworkSpec("wrn-10-2"), "wrn-16-2") == ["wrn-40-1", "wrn-28-1"]
    assert names(NetworkSpec("plain3", {"like": "cifar100"}), "plain5") == ["plain4"]
    assert names(NetworkSpec("wrn-10-8"), "wrn-10-10") == ["wrn-28-4"]
    assert names(NetworkSpec("fitnet-mnist"), "plain10") == []


@pytest.mark.parametrize("name", ["plain2", "plain7", "plain8", "resnet20", "wrn-16-2", "wrn-10-2", "wrn-40-10"])
def test_a_network_is_recognised_by_its_weights(name):
    assert recognised(build(name, classes=7, channels=1, size=32), (1, 32, 32), 7) == NetworkSpec(name)
    assert recognised(nn.Linear(3, 7), (1, 32, 32), 7) is None
