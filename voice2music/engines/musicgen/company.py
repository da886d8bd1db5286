"""Requests decode in company: one step of the decoder serves all that are being written.

Reading the weights is most of a step, and they are read once for all. A request may join at any
step and leave at any step: each keeps its own past, so none waits for another to end, and lengths,
guidance and windows may differ.
"""

import queue
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property
from typing import Final

from voice2music.engines.musicgen.loop import Decoding, Passage, Table
from voice2music.engines.threads import on_one_core

SEATS: Final = 16  # passages at once; more wait until one is done
LOOK: Final = 0.2  # s without news after which a listener is asked whether to go on


class Company:
    """A thread that steps whatever is to be written; it ends when nothing is.

    Args:
        decoder: of all passages.
        seats: how many are written at once.
        room: bytes that their pasts may take together, the decoder's by default; one that needs
            more is written by itself.
    """

    def __init__(self, decoder: Decoding, seats: int = SEATS, room: int | None = None) -> None:
        self._decoder, self._seats, self._given_room = decoder, seats, room
        self._lock = threading.Lock()
        self._waiting: list[_Seat] = []
        self._seated: list[_Seat] = []  # touched by the thread alone
        self._at_work = False

    @cached_property
    def _table(self) -> Table:
        """Made when it is first needed, which is where the card is, if one is lent for a while."""
        return self._decoder.table(self._seats)

    @cached_property
    def _room(self) -> int:
        return self._decoder.room if self._given_room is None else self._given_room

    def written(self, passage: Passage) -> Iterator[int]:
        """Write a passage; yields the steps taken, now and then, all of them at the end.

        The same number comes again where others keep it waiting, so that one may leave meanwhile.

        Leaving early frees the seat within one step.

        Raises:
            CorruptCheckpoint: its numbers are not finite.
        """
        seat = _Seat(passage)
        self._admit(seat)
        try:
            yield from seat.heard()
        finally:
            seat.left = True

    def _admit(self, seat: "_Seat") -> None:
        with self._lock:
            self._waiting.append(seat)
            if self._at_work:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="musicgen-decoder", daemon=True).start()

    def _work(self) -> None:
        """What the thread does. It is over when nobody is there, which only the lock can tell."""
        try:
            with on_one_core() if self._decoder.small else nullcontext():
                while self._seat_people():
                    for seat in self._seated:
                        if not seat.begun:
                            seat.begin(self._table)
                    self._step([seat for seat in self._seated if not seat.over])
        except BaseException as error:  # nobody may wait for ever
            self._break_up(error)

    def _seat_people(self) -> bool:
        """Seats of those who are done go to those who wait; whether anybody is there."""
        for seat in self._seated:
            if seat.over:
                self._table.dismiss(seat.passage)
        self._seated = [seat for seat in self._seated if not seat.over]
        with self._lock:
            self._waiting = [seat for seat in self._waiting if not seat.left]
            while self._waiting and self._fits(self._waiting[0], self._seated):
                self._seated.append(self._waiting.pop(0))
            self._at_work = bool(self._seated)
            return self._at_work

    def _break_up(self, error: BaseException) -> None:
        """All who are there or wait get the error; the next one finds an empty table."""
        with self._lock:
            everybody, self._seated, self._waiting = self._seated + self._waiting, [], []
            self.__dict__.pop("_table", None)
            self._at_work = False
        for seat in everybody:
            seat.passage.error = seat.passage.error or error
            seat.tell()

    def _fits(self, seat: "_Seat", others: list["_Seat"]) -> bool:
        if not others:
            return True
        passages = [one.passage for one in (*others, seat)]
        return len(others) < self._seats and self._table.bytes_for(passages) <= self._room

    def _step(self, seats: list["_Seat"]) -> None:
        """One step for all of them."""
        if not seats:
            return
        try:
            self._table.step([seat.passage for seat in seats])
        except BaseException as error:  # handed over whole and raised by those who wait
            for seat in seats:
                seat.passage.error = error
        for seat in seats:
            seat.tell()


class _Seat:
    """One passage and whoever waits for it."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.left = self.begun = False
        self._news: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do for it."""
        return self.left or self.passage.error is not None or self.passage.done

    def begin(self, table: Table) -> None:
        """Be admitted."""
        self.begun = True
        try:
            table.admit(self.passage)
        except BaseException as error:
            self.passage.error = error
        self.tell()

    def tell(self) -> None:
        """How far it is, or why it cannot go on."""
        self._news.put(self.passage.error or self.passage.taken)

    def heard(self) -> Iterator[int]:
        """The steps taken, the latest news only, until the end.

        Without news the same again, so that who waits for a seat can think better of it.
        """
        taken = 0
        while taken < self.passage.steps:
            try:
                news = self._news.get(timeout=LOOK)
            except queue.Empty:
                yield taken
                continue
            while not isinstance(news, BaseException) and not self._news.empty():
                news = self._news.get()
            if isinstance(news, BaseException):
                raise news
            if news > taken:
                taken = news
                yield taken
