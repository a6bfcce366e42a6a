"""What numbers a key may hold."""

from __future__ import annotations

from typing import Annotated

from thrum.records import Within

Limit = Annotated[float, Within(0.01, 2_000_000)]
"""Seconds until something is ended; 23 days at most, as a poll counts milliseconds in 31 bits."""
LimitOrZero = Annotated[float, Within(0, 2_000_000)]
Count = Annotated[int, Within(0, 1_000_000)]
"""Zero has a meaning of its own, which the field's text tells."""
AtLeastOne = Annotated[int, Within(1, 1_000_000)]
Dollars = Annotated[float, Within(0)]
Ratio = Annotated[float, Within(0.01, 1)]
