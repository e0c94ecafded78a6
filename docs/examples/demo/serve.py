"""Serve an application on a free port of this machine: tell the port, and end when whoever started us has gone."""

import logging
import os
import socket
import sys
import threading

import uvicorn


def end_with_parent() -> None:
    """Leave when standard input closes: it does so even where the parent was killed and could clean up nothing."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    threading.Thread(target=end_with_parent, daemon=True).start()
    config = uvicorn.Config(sys.argv[1], log_config=None, access_log=False)
    config.load()  # before the port is told: an application that cannot be imported tells none
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # named, since asyncio sets TCP_NODELAY only then
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])
