"""``python -m integration_platform``: serve it on this machine."""

from __future__ import annotations

import os
import socket

import uvicorn

from integration_platform import seed
from integration_platform.app import app


def main() -> None:
    """Listen on ``PORT``, 8000 unless it says otherwise; 0 is any that is free."""
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listener:
        print(f"Trellis on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        print(f"Sign in as ana@harbor.example with the password {seed.PASSWORD}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
