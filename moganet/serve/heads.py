"""Heads of requests are read up to a limit: one without an end would fill the memory before any door."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 1 << 16  # bytes; a piece that the socket gave at once is taken whole


class LimitedHeads(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on a head that does not end."""

    _head = 0  # bytes of one that has not ended
    _ended = _in_body = False

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._ended = False
        super().data_received(data)
        self._head = 0 if self._ended or self._in_body else self._head + len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """Hear that a head has ended."""
        self._ended = self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Hear that a body has ended."""
        self._ended, self._in_body = True, False
        super().on_message_complete()
