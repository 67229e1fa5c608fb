"""Telling faults in the code from errors of the world (spec runtime REC-8)."""

from __future__ import annotations

FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, NameError),
    *(NotImplementedError, RecursionError, SystemError, TypeError, UnicodeError),
)
"""What panics are in Go. Python has one mechanism for both, so these classes play their part."""
