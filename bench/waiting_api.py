# SPDX-License-Identifier: Apache-2.0
"""An embedding server that computes nothing and waits, for measures that run it in a process of its own."""
import asyncio
import base64
import functools
import http.client
import struct


@functools.cache
def reply_of(texts, dim):
    """A reply in OpenAI's form: as many vectors, all the same, as base64."""
    vector = base64.b64encode(struct.pack(f"<{dim}f", *([0.125] * dim))).decode()
    items = ",".join(f'{{"object":"embedding","index":{i},"embedding":"{vector}"}}' for i in range(texts))
    return f'{{"object":"list","data":[{items}],"model":"m","usage":{{"prompt_tokens":{texts},"total_tokens":{texts}}}}}'.encode()


def serve(port_of, answer, look):
    """Serves on a free port, which it puts into `port_of`, until the process is ended. `answer(request)`: a coroutine that
    returns the status, the reply, and what is to be called once it is sent, or None. `look()`: called at a request
    without a body."""

    async def talk(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                status, reply, sent = 200, b"{}", None
                if length:
                    status, reply, sent = await answer(await reader.readexactly(length))
                else:
                    look()
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}\r\n\r\n".encode() + reply)
                await writer.drain()
                if sent:
                    sent()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 24, backlog=1024)
        port_of.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def look_at(port, seen):
    """Makes the server look, and takes what its look() puts into the queue `seen`."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/")
    connection.getresponse().read()
    return seen.get()
