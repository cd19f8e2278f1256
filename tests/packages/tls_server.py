# SPDX-License-Identifier: Apache-2.0
"""An embedding server with OpenAI's API over TLS, for as long as a command runs:

    tls_server.py CERT KEY [COMMAND TO PREPARE ...] -- COMMAND ...     (URL in its words is the server's)
"""

import http.server
import json
import ssl
import subprocess
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"object": "embedding", "index": i, "embedding": [1.0 + len(t)] + [0.5] * 7} for i, t in enumerate(texts)]
        body = json.dumps({"object": "list", "model": asked["model"], "data": data,
                           "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


cert, key = sys.argv[1:3]
at = sys.argv.index("--")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
if sys.argv[3:at]:
    subprocess.run(sys.argv[3:at], check=True)
url = f"https://localhost:{server.server_port}"
code = subprocess.run([word.replace("URL", url) for word in sys.argv[at + 1 :]]).returncode
sys.exit(code if code >= 0 else 128 - code)
