from collections.abc import Iterator

import pytest

from tests.ranks.group import Group


@pytest.fixture(scope="session")
def both() -> Iterator[Group]:
    group = Group()
    yield group
    group.close()
