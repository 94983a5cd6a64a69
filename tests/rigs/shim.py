"""The command `lanemesh` for shells, as a forked process of `rigs.commands`: python -I shim.py SOCKET [ARGUMENTS].

SOCKET is the path of a Unix socket where a process serves as `rigs.command_server` does. Signals are passed on. It imports little,
so that a command starts in a tenth of the time.
"""

import json
import os
import signal
import socket
import sys


def main() -> int:
    """Runs a command. Returns its exit code, or 128 and the number of the signal that ended it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        connection.recv(1)
        own, given = socket.socketpair()
        socket.send_fds(connection, [b"\0"], [0, 1, 2, given.fileno()])
        given.close()
        request = {
            "script": os.path.join(os.path.dirname(sys.executable), "lanemesh"),
            "module": "",
            "arguments": sys.argv[2:],
            "folder": os.getcwd(),
            "environment": dict(os.environ),
        }
        own.sendall(json.dumps(request).encode() + b"\n")
        answers = own.makefile("rb", buffering=0)
        process = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(process, number))
        code = int(answers.readline())
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
