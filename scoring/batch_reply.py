"""The answers to the events of one request, collected in their order."""

import asyncio
from collections.abc import Iterable, Sequence

from scoring.job import Answer

AnswerOrError = Answer | Exception


class BatchReply:
    """`complete` has the outcome of each of n events once the last is there. Use it on its event loop only."""

    def __init__(self, events: int) -> None:
        self.complete: asyncio.Future[list[AnswerOrError]] = asyncio.get_running_loop().create_future()
        self._outcomes: dict[int, AnswerOrError] = {}
        self._events = events
        self.put((), ())

    def put(self, places: Sequence[int], outcomes: Iterable[AnswerOrError]) -> None:
        """Take the outcomes of the events at these places, counted from 0."""
        self._outcomes.update(zip(places, outcomes, strict=True))
        if len(self._outcomes) == self._events and not self.complete.done():
            self.complete.set_result([self._outcomes[place] for place in range(self._events)])

    def at(self, place: int) -> "PlaceInBatch":
        """Return what receives the answer to one event."""
        return PlaceInBatch(self, place)


class PlaceInBatch:
    """Receives one answer of a batch, as an AnswerReceiver."""

    def __init__(self, batch: BatchReply, place: int) -> None:
        self._batch = batch
        self._place = place

    def done(self) -> bool:
        return self._batch.complete.done()

    def set_result(self, result: Answer, /) -> None:
        self._batch.put((self._place,), (result,))

    def set_exception(self, exception: Exception, /) -> None:
        self._batch.put((self._place,), (exception,))
