"""Asks a manager for sandboxes, many times or at many times at once; called by Tests/Kernel/sandboxes.

    sandbox_load.py SOCKET cycles BASE COUNT     creates and removes a sandbox COUNT times, one after the other
    sandbox_load.py SOCKET many BASE COUNT       creates COUNT sandboxes at once: load-1 to load-COUNT
    sandbox_load.py SOCKET remove COUNT          removes these, at once
    sandbox_load.py SOCKET resume NAME COUNT     resumes one sandbox COUNT times at once
"""

import http.client
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("ashlar")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


class Manager:
    def __init__(self, path):
        self.path = path

    def ask(self, method, path, body=None):
        connection = Connection(self.path)
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{method} {path}: {answer['error']}")
        return answer

    def create(self, name, base):
        info = self.ask("POST", "/v1/sandboxes", {"name": name, "base": base})
        if info["state"] != "running":
            raise SystemExit(f"{name} is {info['state']}")
        return info

    def remove(self, name):
        self.ask("DELETE", f"/v1/sandboxes/{name}")

    def verb(self, name, verb):
        return self.ask("POST", f"/v1/sandboxes/{name}/{verb}")


def main():
    manager = Manager(sys.argv[1])
    task, arguments = sys.argv[2], sys.argv[3:]
    if task == "cycles":
        for _ in range(int(arguments[1])):
            manager.create("cycle", arguments[0])
            manager.remove("cycle")
    else:
        with ThreadPoolExecutor(20) as pool:
            if task == "many":
                names = [f"load-{number}" for number in range(1, int(arguments[1]) + 1)]
                list(pool.map(lambda name: manager.create(name, arguments[0]), names))
            elif task == "remove":
                list(pool.map(manager.remove, [f"load-{number}" for number in range(1, int(arguments[0]) + 1)]))
            elif task == "resume":
                answers = list(pool.map(lambda _: manager.verb(arguments[0], "resume"), range(int(arguments[1]))))
                if len({answer["device"] for answer in answers}) != 1:
                    raise SystemExit(f"not one device: {answers}")
            else:
                raise SystemExit(__doc__)


main()
