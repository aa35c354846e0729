"""A server at argv[1] that never reads a body: it answers /big and /interim without end, and anything else
not at all."""
import socket
import sys
import threading
import time

address, port = sys.argv[1].rsplit(":", 1)
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"x" * 4000 + b">\r\n\r\n"


def serve(client):
    head = b""
    while b"\r\n\r\n" not in head:
        got = client.recv(65536)
        if not got:
            return
        head += got
    path = head.split(b" ")[1]
    if path == b"/big":
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    while path in (b"/big", b"/interim"):
        client.sendall(b"x" * 262144 if path == b"/big" else HINT)
    time.sleep(3600)


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
