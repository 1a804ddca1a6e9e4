"""The ports that tests are given."""

import pytest

from tests.ports import free_ports


@pytest.mark.parametrize("above", [(), (1,), (10,), (10, 20, 1_000)])
def test_none_given_out_lies_above_another(above: tuple[int, ...]):
    given = free_ports(13, above)
    with_above = [port + each for port in given for each in (0, *above)]
    assert len(set(with_above)) == len(with_above) == 13 * (1 + len(above))
