"""Bookkeeping of one score stream: what may be sent, what is unanswered, what is sent again; no I/O.

The window bounds what is held in memory however long the input is: an item is kept from the moment it is pulled until
its result is there, so that it can be sent again when the stream breaks.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic

from clip_labeler.errors import DeadlineError, ProtocolError, UnavailableError
from clip_labeler.scoring import ItemT, ResultT, Scoring, Sent
from clip_labeler.values import ItemError, ServerInfo

# 16 images in one message cost a third of the CPU time of 16 messages (measured with grpcio 1.85); more in one would
# only delay the first results.
MAX_ITEMS_PER_MESSAGE = 16
# A message is buffered whole, several times over, on both sides.
MAX_MESSAGE_BYTES = 2 * 2**20
# Unanswered items in memory. One item more always fits, so that large images make progress too.
MAX_BYTES_IN_FLIGHT = 64 * 2**20
# Upper limit of what protobuf adds around the options and around each item.
FRAMING_BYTES = 64


class StreamSession(Generic[ItemT, ResultT]):
    """State of one score call over all the streams that it may take."""

    def __init__(self, scoring: Scoring[ItemT, ResultT], server_info: ServerInfo) -> None:
        self.scoring = scoring
        self._num_pulled = 0
        self._input_ended = False
        self._unanswered: dict[str, Sent] = {}  # by wire id, in input order
        self._unsent: dict[str, Sent] = {}  # the part of it that is not on the present stream
        self._bytes_in_flight = 0
        self._results: list[ResultT] = []
        self.restart(server_info)

    def restart(self, server_info: ServerInfo) -> None:
        """Prepares a new stream to a labeler that may have come back with other limits: all unanswered is unsent.

        After a stream that broke, one message goes out first and the rest when it is answered: on a line that breaks
        again and again after some bytes, all at once would never bring an answer home.
        """
        self.scoring.check_weights(server_info.weights_sha256)
        limits = server_info.limits
        self._window = limits.max_items_in_flight_per_stream
        self._message_items = max(1, min(MAX_ITEMS_PER_MESSAGE, limits.max_items_per_request, self._window // 4))
        self._largest_item = limits.max_request_bytes - self.scoring.options.ByteSize() - FRAMING_BYTES
        self._message_bytes = min(MAX_MESSAGE_BYTES, self._largest_item)
        self._unsent = dict(self._unanswered)
        self._options_sent = False
        self._resting = False
        self._probing = bool(self._unanswered)

    @property
    def wants_item(self) -> bool:
        """Whether the window has room for another full message, and the one being filled is not full."""
        num_on_stream = len(self._unanswered) - len(self._unsent)
        return (
            not self._input_ended
            and not self._resting
            and not self._probing
            and len(self._unsent) < self._message_items
            and num_on_stream + self._message_items <= self._window
            and self._bytes_in_flight < MAX_BYTES_IN_FLIGHT
        )

    @property
    def must_wait(self) -> bool:
        """Whether there is nothing to do until a response comes."""
        return bool(self._unanswered) and not self.wants_item

    def rest(self) -> None:
        """Takes nothing more until `restart`: the present stream ends when all on it is answered."""
        self._resting = True

    @property
    def rested(self) -> bool:
        return self._resting and not self._unanswered

    @property
    def finished(self) -> bool:
        return self._input_ended and not self._unanswered

    def add(self, item: ItemT) -> None:
        """Takes an item of the input; one that fits in no message fails here, not the whole stream with it."""
        sent = self.scoring.send(item, str(self._num_pulled))
        self._num_pulled += 1
        if sent.num_bytes > self._largest_item:
            message = f"{sent.num_bytes} bytes are more than the {self._largest_item} that fit in one request"
            self._results.append(self.scoring.failed(sent, ItemError("INVALID_ARGUMENT", "ITEM_TOO_LARGE", message)))
            return
        self._unanswered[sent.message.id] = self._unsent[sent.message.id] = sent
        self._bytes_in_flight += sent.num_bytes

    def end_input(self) -> None:
        self._input_ended = True

    def requests(self) -> Iterator[Any]:
        """The messages that carry what is unsent; the first one of a stream has the options."""
        unsent, self._unsent = deque(self._unsent.values()), {}
        while unsent:
            batch = [unsent.popleft()]
            num_bytes = batch[0].num_bytes
            while unsent and len(batch) < self._message_items:
                num_bytes += unsent[0].num_bytes + FRAMING_BYTES
                if num_bytes > self._message_bytes:
                    break
                batch.append(unsent.popleft())
            yield self.scoring.request([sent.message for sent in batch], with_options=not self._options_sent)
            self._options_sent = True
            if self._probing:
                self._unsent = {sent.message.id: sent for sent in unsent}
                return

    def receive(self, response: Any | None) -> None:
        """Checks a response and keeps its results; None: nothing came in time.

        Raises ProtocolError; DeadlineError if a response was waited for; UnavailableError when an item must be
        sent again, after the others' results were kept.
        """
        if response is None:
            if self.must_wait:
                raise DeadlineError(f"the labeler left {len(self._unanswered)} items unanswered for too long")
            return
        self.scoring.check_weights(response.weights_sha256)
        self._probing = False
        unavailable: UnavailableError | None = None
        for result in response.results:
            sent = self._unanswered.get(result.id)
            if sent is None:
                raise ProtocolError(f"the labeler answered item {result.id!r} that was not asked, or was answered")
            try:
                self._results.append(self.scoring.result(sent, result))
            except UnavailableError as error:
                unavailable = error
                continue
            del self._unanswered[result.id]
            self._bytes_in_flight -= sent.num_bytes
        if unavailable is not None:
            raise unavailable

    def take_results(self) -> list[ResultT]:
        """Results since the last call."""
        results, self._results = self._results, []
        return results
