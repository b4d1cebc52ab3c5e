"""Servers on loopback, for the length of a block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn


@contextmanager
def serving(server: TCPServer) -> Iterator[int]:
    """Serves until the end of the block, which waits for those that are served; the port."""
    if isinstance(server, ThreadingMixIn):
        server.daemon_threads = False  # the server's end joins no others
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
