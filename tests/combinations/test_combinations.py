"""A sample of ``make combinations`` with a fixed seed, whose cases are all accepted."""

import pytest

from tests.combinations.cases import Case


@pytest.mark.parametrize("number", [0, 2, 3, 4, 5, 6, 7, 8])
def test_no_case_of_the_sample_fails(tmp_path, number):
    assert Case.of(f"9/{number}").run(tmp_path) == "accepted"


def test_a_case_is_a_function_of_its_seed():
    assert [str(Case.of(f"1/{number}")) for number in range(20)] == [
        str(Case.of(f"1/{number}")) for number in range(20)
    ]
    assert len({Case.of(f"1/{number}").method for number in range(60)}) > 20
