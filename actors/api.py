"""The process of the HTTP API: waitress on loopback, with a client of the bus for each of its threads.

The loop that all actors share only watches over it; what is served is `api_app`'s.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from pathlib import Path

import waitress.server

from thrum.errors import BusyError
from thrum.files import secret, write_atomically
from thrum.messages import Envelope
from thrum.wire import Dealer

from . import base
from .api_app import BODY_BYTES, Desks, application

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
THREADS = 8
BACKLOG = 128
CLOSE_S = 5.0


class ApiActor:
    """waitress in threads of its own, under the loop that all actors share."""

    done = False

    def __init__(self, told: base.Situation, address_file: Path | None) -> None:
        # It warns of each request that finds all threads busy, which under load is each request.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        token = secret(told.places.token)
        self._desks = Desks(told, token)
        self._address_file = address_file
        if address_file is not None:
            address_file.unlink(missing_ok=True)  # of a predecessor that was killed
        self._listener = listening(told.project.pipeline.api.port)
        self._server = waitress.server.create_server(
            application(self._desks, told.project, token),
            sockets=[self._listener],
            threads=THREADS,
            ident="thrum",
            max_request_body_size=BODY_BYTES,
            channel_timeout=60,
            connection_limit=100,
        )
        self._thread = threading.Thread(target=self._server.run, name="waitress", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"

    def start(self, now: float) -> None:
        self._thread.start()
        if self._address_file is not None:
            write_atomically(self._address_file, f"{self.address}\n".encode())
        log.info("listening", extra={"address": self.address})

    def step(self, envelopes: list[Envelope], now: float) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("waitress has ended")

    def next_at(self) -> float:
        return float("inf")

    def wake_fds(self) -> tuple[int, ...]:
        return ()

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (), 0, ()

    def stop(self, now: float) -> None:
        self.done = True

    def close(self) -> None:
        if self._address_file is not None:
            self._address_file.unlink(missing_ok=True)
        if self._thread.is_alive():
            # Its sockets belong to its loop, which ends once they are all closed.
            self._server.trigger.pull_trigger(lambda: self._server.asyncore.close_all(self._server._map))
            self._thread.join(CLOSE_S)
        else:
            self._server.asyncore.close_all(self._server._map)
        if self._server.task_dispatcher.shutdown(timeout=CLOSE_S):
            self._desks.close()


def listening(port: int) -> socket.socket:
    """A socket that listens on the port of loopback, 0 meaning any free one.

    Raises:
        BusyError: something else does.
    """
    # Not left to waitress, which leaves half a server behind where this fails.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Else the port of a predecessor could not be taken for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BusyError(
            f"the API cannot listen on port {port} of {LOOPBACK}: {error.strerror}; set [api] port to another, "
            "or to 0 for any free one"
        ) from error
    return listener


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.api`."""
    parser = base.parser("Thrum's HTTP API")
    parser.add_argument("--address-file", type=Path, help="where to write the address that it listens on")
    args = parser.parse_args(argv)

    def make(told: base.Situation, _: Dealer) -> ApiActor:
        return ApiActor(told, args.address_file)

    return base.main(args, make)


if __name__ == "__main__":
    sys.exit(main())
