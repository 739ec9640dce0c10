"""`python -m lab.clients`: resolve the requirements of every client again."""

from lab.clients.client import CLIENTS
from lab.environments import lock

if __name__ == "__main__":
    for client in CLIENTS:
        lock(client.folder, "python -m lab.clients")
