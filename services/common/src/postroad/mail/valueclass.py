"""
The decorator of values that are made for every message.

A frozen dataclass writes each field through `object.__setattr__`, which costs eight times what an
assignment does, and the values that a message makes on its way have a hundred fields. A value is
frozen for the type checker, which refuses an assignment all over the code; at run time it is a
dataclass with slots that compares, and hashes, by its fields. What is made once in a while is a
frozen dataclass.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as valueclass
else:
    from dataclasses import dataclass

    def valueclass(*, frozen, slots, kw_only=False):
        """Return the decorator; its arguments are those of `dataclass`, for the type checker."""
        assert frozen, "a value is not assigned to"
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=True)


__all__ = ["valueclass"]
