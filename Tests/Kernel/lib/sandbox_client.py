"""Asks a manager, and its journal, on behalf of Tests/Kernel/lib/sandboxes.bash.

    sandbox_client.py SOCKET JOURNAL

One process for all questions: in an emulated machine, starting one for each takes longer than the answer. Reads lines
"METHOD PATH [BODY]" and prints "STATUS ANSWER" for each, 000 if there is no manager; for "SQL QUERY" the status is 200,
and the answer the first field of the first row.
"""

import http.client
import socket
import sqlite3
import sys


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(120)
        self.sock.connect(sys.argv[1])


def answer(method, path, body):
    try:
        connection = Connection("ashlar")
        connection.request(method, path, body)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, " ".join(text.split("\n"))
    except (OSError, http.client.HTTPException) as error:
        return "000", f"{type(error).__name__}: {error}"


def main():
    # Not "for line in sys.stdin": that would read ahead.
    while line := sys.stdin.readline():
        method, _, rest = line.rstrip("\n").partition(" ")
        if method == "SQL":
            status, text = 200, sqlite3.connect(sys.argv[2]).execute(rest).fetchone()[0]
        else:
            path, _, body = rest.partition(" ")
            status, text = answer(method, path, body or None)
        print(status, text, flush=True)


main()
