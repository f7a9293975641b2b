"""A participant behind HTTP: answers as it is told to, and remembers what it was asked."""

import http.server
import json
import threading


class Receiver:
    """answers: path -> list of (status, body), of which the last one stays; default (200, {"ok":true})."""

    def __init__(self, answers=None, log=None):
        self.answers, self.asked, self.log = answers or {}, [], log
        self.lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, text = outer.take(self.command, self.path, self.headers, body)
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_PUT = do_DELETE = do_GET = do_PATCH = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def take(self, method, path, headers, body):
        with self.lock:
            try:
                value = json.loads(body)
            except ValueError:
                value = body.decode()
            self.asked.append((method, path, dict(headers), value))
            if self.log:
                with open(self.log, "a", encoding="utf-8") as file:
                    file.write(f"{method} {path} {body.decode()}\n")
            answers = self.answers.get(path, [(200, '{"ok":true}')])
            status, text = answers.pop(0) if len(answers) > 1 else answers[0]
            return status, text.encode()

    def of(self, path):
        with self.lock:
            return [one for one in self.asked if one[1] == path]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
