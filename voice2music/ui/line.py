"""The queue in front of the models: first come, first served, each knowing her place."""

import threading
from collections.abc import Callable, Iterator

from voice2music.errors import Busy, Cancelled

LONGEST_WAIT = 0.5  # s between two looks at one's place


class Line:
    """At most `width` jobs at once; the others wait in order.

    Args:
        width: jobs at once.
        longest: jobs that may wait; one more is turned away.
    """

    def __init__(self, width: int, longest: int = 20) -> None:
        self.width, self.longest = width, longest
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    def turn(self, cancelled: Callable[[], bool]) -> "Turn":
        """A place at the end of the line.

        Raises:
            Busy: too many are waiting.
        """
        ticket = object()
        with self._changed:
            if len(self._waiting) >= self.width + self.longest:
                raise Busy("Too many people are making music. Please try again in a minute.")
            self._waiting.append(ticket)
        return Turn(self, ticket, cancelled)

    def before(self, ticket: object) -> int:
        """How many jobs must end before `ticket` may work; 0 when it may."""
        with self._changed:
            return max(0, self._waiting.index(ticket) - self.width + 1)

    def wait(self) -> None:
        """Until somebody leaves, or a moment has passed."""
        with self._changed:
            self._changed.wait(LONGEST_WAIT)

    def leave(self, ticket: object) -> None:
        """Give the place free."""
        with self._changed:
            self._waiting.remove(ticket)
            self._changed.notify_all()


class Turn:
    """One job's place in a line; a context that gives it free at its end."""

    def __init__(self, line: Line, ticket: object, cancelled: Callable[[], bool]) -> None:
        self.line, self.ticket, self.cancelled = line, ticket, cancelled

    def __enter__(self) -> "Turn":
        return self

    def __exit__(self, *exception: object) -> None:
        self.line.leave(self.ticket)

    def places(self) -> Iterator[int]:
        """The number of jobs before this one, again and again until it is 0.

        Raises:
            Cancelled: given up while waiting.
        """
        while before := self.line.before(self.ticket):
            yield before
            self.line.wait()
            if self.cancelled():
                raise Cancelled("Stopped while waiting.")
