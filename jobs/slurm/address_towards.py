"""Print this machine's address on the interface that leads to another host. Nothing is sent."""

import socket
import sys


def address_towards(host: str) -> str:
    """IPv4 address of this machine as `host`, a name or an address, sees it.

    Raises:
        OSError: the name is unknown, or no route leads there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect((host, 9))  # chooses the interface; any port does
        return str(datagrams.getsockname()[0])


if __name__ == "__main__":
    try:
        print(address_towards(sys.argv[1]))
    except OSError as error:
        sys.exit(f"no way from this node to {sys.argv[1]}: {error}")
