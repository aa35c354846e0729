"""WebSocket to app.example.test at the address argv[1], in plaintext, over TLS with the certificates
in argv[2], and over one stream of HTTP/2 (RFC 8441)."""
import asyncio
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
import websockets

NAME = "app.example.test"
address, trusted = sys.argv[1:]
tls = ssl.create_default_context(cafile=trusted)


async def converse(scheme, port, context):
    async with websockets.connect(
        f"{scheme}://{NAME}/", host=address, port=port, ssl=context, max_size=None
    ) as stream:
        large = bytes(range(256)) * 8192
        for message in ["hello", b"bytes", "", large]:
            await stream.send(message)
            assert await stream.recv() == message
        assert await (await stream.ping()) is not None


def frame(payload):
    """A text frame of a client: masked, with a mask of zeros."""
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def over_http2():
    context = ssl.create_default_context(cafile=trusted)
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection((address, 443), timeout=60)
    stream = context.wrap_socket(raw, server_hostname=NAME)
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    http.initiate_connection()
    stream.sendall(http.data_to_send())
    received, status, enabled, asked = b"", None, False, False
    while received != b"\x81\x05hello":
        data = stream.recv(65536)
        assert data, "the connection ended"
        for event in http.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
                enabled |= code in event.changed_settings
            if isinstance(event, h2.events.ResponseReceived):
                status = dict(event.headers)[":status"]
                assert status == "200", event.headers
                http.send_data(1, frame(b"hello"))
            if isinstance(event, h2.events.DataReceived):
                received += event.data
                http.acknowledge_received_data(event.flow_controlled_length, 1)
        if enabled and not asked:
            asked = True
            http.send_headers(1, [
                (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                (":path", "/"), (":authority", NAME), ("sec-websocket-version", "13"),
            ])
        stream.sendall(http.data_to_send())
    http.end_stream(1)
    stream.sendall(http.data_to_send())
    stream.close()


asyncio.run(converse("ws", 80, None))
asyncio.run(converse("wss", 443, tls))
over_http2()
print("ok")
