"""Dictionaries of parts by name."""

import pytest

from fpt.utils.errors import UserError
from fpt.utils.parts import add_part, find_part


def test_an_unknown_name_gets_the_legal_ones_and_the_nearest() -> None:
    parts = {"SGD": 1, "AdamW": 2}
    assert find_part(parts, "SGD", option="SOLVER.TYPE") == 1
    with pytest.raises(UserError, match=r"SOLVER\.TYPE is 'adam'; legal: SGD, AdamW; the nearest is 'AdamW'"):
        find_part(parts, "adam", option="SOLVER.TYPE")


def test_a_name_is_not_given_away_twice() -> None:
    parts = {"SGD": 1}
    add_part(parts, "Lion", 2, kind="optimizer")
    add_part(parts, "Lion", 2, kind="optimizer")
    with pytest.raises(UserError, match="optimizer 'SGD' is there already, 1; register yours by another name"):
        add_part(parts, "SGD", 3, kind="optimizer")
    assert parts == {"SGD": 1, "Lion": 2}
