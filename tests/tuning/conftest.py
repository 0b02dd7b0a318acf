"""A search of the workplace's recipe, and one that nothing interrupted."""

import pytest

from tests.tuning.search import COUNT, SMALL, SPACE, text
from understudy import recipe as recipes
from understudy.plans import TrainingCache
from understudy.plans.training import Builders
from understudy.tuning import Tuning
from understudy.tuning.outcome import execute


@pytest.fixture
def make(workplace, tmp_path):
    """A search of the workplace's recipe; ``out`` is the name of its folder."""

    def build(*changes, search=SPACE, out="tune", recipe=None, callback=None, seconds=20.0, cache=None, **tune):
        read = recipes.parse_searched(recipe or text(), "recipe.toml", [*SMALL, *changes], search, **tune)
        options = {
            "callback": callback,
            "checkpoint_seconds": seconds,
            "cache": cache and TrainingCache(tmp_path / cache),
        }
        return Tuning(read, tmp_path / out, builders=Builders(["smallnets"]), **options)

    return build


@pytest.fixture(scope="module")
def unbroken(_workplace, tmp_path_factory):
    """All trials in one go: their folder and what was told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_workplace)
        patch.syspath_prepend(_workplace)
        read = recipes.parse_searched(text(), "recipe.toml", SMALL, SPACE)
        tuning = Tuning(read, tmp_path_factory.mktemp("unbroken"), builders=Builders(["smallnets"]))
        return tuning.folder.path, execute(tuning, COUNT)
