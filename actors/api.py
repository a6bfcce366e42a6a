"""The process of the HTTP API: waitress on loopback, with a client of the bus for each of its threads.

The loop that all actors share only watches over it; what is served is `api_app`'s.
"""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from typing import Any

import falcon
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
        self._server = _bound(application(self._desks, token), told.project.pipeline.api.port)
        self._thread = threading.Thread(target=self._server.run, name="waitress", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._server.effective_port}"

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


def _bound(app: falcon.App[Any, Any], port: int) -> Any:
    """A server that listens on the port of loopback, 0 meaning any free one.

    Raises:
        BusyError: something else does.
    """
    try:
        return waitress.server.create_server(
            app,
            host=LOOPBACK,
            port=port,
            threads=THREADS,
            ident="thrum",
            max_request_body_size=BODY_BYTES,
            channel_timeout=60,
            connection_limit=100,
        )
    except OSError as error:
        raise BusyError(
            f"the API cannot listen on port {port} of {LOOPBACK}: {error.strerror}; set [api] port to another, "
            "or 0 for any free one"
        ) from error


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
