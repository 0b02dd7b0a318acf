"""Ranks that are started again agree on a place of their own in a store that keeps what was before."""

from concurrent.futures import ThreadPoolExecutor

from torch.distributed import HashStore

from understudy.plans.attempt import NAME, common_prefix

WORLD = 3


def started(store: HashStore, order: tuple[int, ...]) -> set[str]:
    """The prefixes of the ranks, which start in this order."""
    with ThreadPoolExecutor(WORLD) as pool:
        return set(pool.map(lambda rank: common_prefix(store, rank, WORLD), order))


def test_each_start_has_a_prefix_of_its_own_on_all_ranks():
    store = HashStore()
    starts = [started(store, order) for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1))]
    assert [len(prefixes) for prefixes in starts] == [1] * 4
    assert len(set.union(*starts)) == 4


def test_a_start_that_was_broken_off_leaves_nothing_valid():
    store = HashStore()
    store.set(f"{NAME}/name/1", "gone")
    store.set(f"{NAME}/list", "gone,gone,gone")
    assert len(started(store, (0, 1, 2))) == 1
