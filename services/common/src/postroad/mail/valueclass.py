"""
A decorator for value classes on the hot path, cheaper than a frozen dataclass.

A frozen dataclass writes each field through `object.__setattr__`, which costs eight times as much
as an assignment, and the values made for one message have a hundred fields together. With
`valueclass`, only the type checker sees a frozen dataclass and refuses assignments. At run time it
is a dataclass with slots that compares and hashes by its fields. Use a frozen dataclass for values
that are made less often.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as valueclass
else:
    from dataclasses import dataclass

    def valueclass(*, frozen, slots, kw_only=False):
        """Return the decorator; its arguments are those of `dataclass`, for the type checker."""
        assert frozen, "a value class must be frozen"
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=True)


__all__ = ["valueclass"]
