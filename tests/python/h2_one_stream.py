"""A server of HTTP/2 without TLS at argv[1] that takes one stream at a time on each connection, and
answers after half a second."""
import socket
import sys
import threading
import time

address, port = sys.argv[1].rsplit(":", 1)
HEADERS, SETTINGS, PING = 1, 4, 6
END, ACK = 5, 1


def frame(kind, flags, number, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload


def serve(client):
    stream = client.makefile("rb")
    stream.read(24)
    client.sendall(frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1"))
    while head := stream.read(9):
        kind, flags, number = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = stream.read(int.from_bytes(head[:3], "big"))
        if kind == HEADERS:
            time.sleep(0.5)
            # `:status: 200`, by the static table.
            client.sendall(frame(HEADERS, END, number, b"\x88"))
        elif kind in (SETTINGS, PING) and not flags & ACK:
            client.sendall(frame(kind, ACK, 0, b"" if kind == SETTINGS else payload))


def connection(client):
    with client:
        try:
            serve(client)
        except OSError:
            pass


with socket.create_server((address, int(port)), backlog=4096) as server:
    print("ready", flush=True)
    while True:
        threading.Thread(target=connection, args=(server.accept()[0],), daemon=True).start()
