"""What measured directions tell of a mistake."""

from __future__ import annotations

from gradproof._prove._diagnose import Evidence
from gradproof._prove._directions import Direction
from gradproof._prove._measure import Residual


def test_the_deviation_of_a_claim_whose_square_overflows():
    """As of memory that was never written; the same in any unit."""

    def deviation(unit):
        evidence = Evidence(shape=(4,), size=4)
        for stream, value in enumerate((1.0, -2.0, 0.5)):
            direction = Direction(stream=stream, group=(0,), scales=(1.0,))
            evidence.add(direction, Residual(value=unit * value, bar=0.0, claimed=-unit * value))
        return evidence.deviation(2.0 * unit)

    assert deviation(2.0**660) == deviation(1.0)
