"""A WebSocket server that echoes."""
import asyncio
import sys

import websockets


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    host, port = sys.argv[1].rsplit(":", 1)
    async with websockets.serve(echo, host, int(port), max_size=None):
        print("ready", flush=True)
        await asyncio.Future()


asyncio.run(main())
