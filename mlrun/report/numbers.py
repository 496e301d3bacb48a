"""Format of numbers and times on the terminal and in figures."""

from __future__ import annotations

from typing import Any


def number(value: Any, digits: int = 4) -> str:
    """`value` with this many significant digits and no unnecessary exponent: 0.9700, 53.40, 12,346, 1.200e-05."""
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return str(value)
    value = value if isinstance(value, int) else float(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == 0:
        return "0"
    text = f"{value:#.{digits}g}"
    # from 1000 on all digits are before the point: 1,000 and 12,346 instead of "1000." and "1.235e+04"
    return f"{value:,.0f}" if text.endswith(".") or 10 ** (digits - 1) <= abs(value) < 1e9 else text


def duration(seconds: float) -> str:
    """0.43 s, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float) -> str:
    """0:07, 12:30, 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def size(count: int) -> str:
    """Bytes: 512 bytes, 1.50 MiB, 23.4 GiB."""
    if count < 1024:
        return f"{count} bytes"
    units = ("KiB", "MiB", "GiB", "TiB")
    value, place = count / 1024, 0
    while value >= 1000 and place < len(units) - 1:
        value, place = value / 1024, place + 1
    return f"{value:.3g} {units[place]}"
