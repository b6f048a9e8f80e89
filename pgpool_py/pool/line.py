"""The lists of a pool: clients or servers in order, linked through the members themselves.

Hot: every transaction takes a server out of one list and puts it into another, twice; `benchmarks/compare.py` guards it.
A dict would do the same with hashing, and be rebuilt after so many moves.

A member stands in one line at most; `ahead` and `behind` are None while it stands in none. The line closes to a ring at
`end`, which is nobody: so nothing here has a special case.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgpool_py.seam import Member


class Line:
    """Members in the order they came; removal from anywhere."""

    def __init__(self) -> None:
        end = self.end = Member()
        end.ahead = end.behind = end
        self.size = 0

    def append(self, member: Member) -> None:
        """Put *member*, who stands in no line, at the tail."""
        end = self.end
        last = end.ahead
        member.ahead = last
        member.behind = end
        last.behind = member
        end.ahead = member
        self.size += 1

    def prepend(self, member: Member) -> None:
        """Put *member*, who stands in no line, at the head."""
        end = self.end
        first = end.behind
        member.ahead = end
        member.behind = first
        first.ahead = member
        end.behind = member
        self.size += 1

    def remove(self, member: Member) -> None:
        """Take *member* out, who must stand in this line."""
        ahead = member.ahead
        behind = member.behind
        ahead.behind = behind
        behind.ahead = ahead
        member.ahead = None
        member.behind = None
        self.size -= 1

    def hand_on(self, member: Member, other: Line) -> None:
        """Take *member* out and put it at the tail of *other*: `remove` and `append` in one, twice in every transaction."""
        ahead = member.ahead
        behind = member.behind
        ahead.behind = behind
        behind.ahead = ahead
        self.size -= 1
        end = other.end
        ahead = end.ahead
        member.ahead = ahead
        member.behind = end
        ahead.behind = member
        end.ahead = member
        other.size += 1

    def first(self) -> Member | None:
        """Who came first."""
        return self.end.behind if self.size else None

    def last(self) -> Member | None:
        """Who came last."""
        return self.end.ahead if self.size else None

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Member]:
        each = self.end.behind
        while each is not self.end:
            yield each
            each = each.behind

    def __reversed__(self) -> Iterator[Member]:
        each = self.end.ahead
        while each is not self.end:
            yield each
            each = each.ahead

    def __contains__(self, member: object) -> bool:
        return any(each is member for each in self)
