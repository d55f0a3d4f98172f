"""A registry on loopback that cargo can publish to, and that can be stopped at any step of that.

    registry.py DIRECTORY

Prints the address of its index, then speaks with whoever started it, line by line. It is asked on standard input:

    hold STEP NAME UPLOADS   stop once at STEP of the package NAME, when so many uploads were taken
    hide NAME                take an upload of NAME, and do not show it in the index yet
    show NAME                show it
    plant NAME VERSION       have a package of somebody else, which is no upload
    go                       go on

Each is answered with `done` and its word. It says `held STEP NAME` when it has stopped, and `refused NAME` when it was
given a version that it has. Steps are `ask` (the index is asked for NAME before it has been taken), `begin` (an upload
came in, and is never taken), `taken` (the upload is noted, nothing is answered) and `wait` (the index is asked for NAME
after it was taken). It ends when its standard input does.

Every upload that was taken is a line of DIRECTORY/uploads: name, version, checksum. The archives lie beside it.
"""

import hashlib
import http.server
import io
import json
import pathlib
import struct
import sys
import tarfile
import threading

directory = pathlib.Path(sys.argv[1])
directory.mkdir(parents=True, exist_ok=True)
record = directory / "uploads"
record.touch()

lock = threading.Lock()
going = threading.Event()
hold = None
hidden = set()


def uploads():
    return [line.split() for line in record.read_text().splitlines()]


def say(*words):
    print(*words, flush=True)


def stop_at(step, name):
    """Waits here if that was asked for; says whether it was."""
    global hold
    with lock:
        if hold != (step, name, len(uploads())):
            return False
        hold = None
        going.clear()
    say("held", step, name)
    going.wait()
    return True


def index_line(about, checksum):
    dependencies = []
    for dependency in about["deps"]:
        renamed = dependency.pop("explicit_name_in_toml", None)
        line = dict(dependency, req=dependency.pop("version_req"))
        if renamed:
            line.update(name=renamed, package=dependency["name"])
        dependencies.append(line)
    return {
        "name": about["name"],
        "vers": about["vers"],
        "deps": dependencies,
        "cksum": checksum,
        "features": {},
        "features2": about["features"],
        "yanked": False,
        "links": about.get("links"),
        "rust_version": about.get("rust_version"),
        "v": 2,
    }


def plant(name, version):
    packed = io.BytesIO()
    manifest = f'[package]\nname = "{name}"\nversion = "{version}"\nedition = "2024"\n'
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, text in [("Cargo.toml", manifest), ("src/lib.rs", "//! Of somebody else.\n")]:
            about = tarfile.TarInfo(f"{name}-{version}/{path}")
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    (directory / f"{name}-{version}.crate").write_bytes(packed.getvalue())
    about = {"name": name, "vers": version, "deps": [], "features": {}}
    line = index_line(about, hashlib.sha256(packed.getvalue()).hexdigest())
    (directory / f"{name}.index").write_text(json.dumps(line) + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, content, kind="application/json"):
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # Whoever asked was killed.

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if self.path == "/index/config.json":
            address = f"http://127.0.0.1:{self.server.server_port}"
            self.answer(200, {"dl": f"{address}/archives/{{crate}}-{{version}}.crate", "api": address})
        elif parts[0] == "index":
            self.index(parts[-1])
        elif parts[0] == "archives":
            self.answer(200, (directory / parts[-1]).read_bytes(), "application/gzip")
        else:
            self.answer(404, {})

    def index(self, name):
        taken = any(found == name for found, *_ in uploads())
        stop_at("wait" if taken else "ask", name)
        file = directory / f"{name}.index"
        if name in hidden or not file.exists():
            self.answer(404, {})
        else:
            self.answer(200, file.read_bytes(), "text/plain")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        (length,) = struct.unpack_from("<I", body)
        about = json.loads(body[4 : 4 + length])
        archive = body[8 + length :]
        name, version = about["name"], about["vers"]
        if stop_at("begin", name):
            # Whoever was stopped here is killed: nothing is taken, and nothing goes on before it is gone.
            self.rfile.read(1)
            self.close_connection = True
            return
        with lock:
            if any(found[:2] == [name, version] for found in uploads()):
                say("refused", name)
                text = f"crate version `{version}` is already uploaded"
                self.answer(400, {"errors": [{"detail": text}]})
                return
            checksum = hashlib.sha256(archive).hexdigest()
            (directory / f"{name}-{version}.crate").write_bytes(archive)
            with (directory / f"{name}.index").open("a") as index:
                index.write(json.dumps(index_line(about, checksum)) + "\n")
            with record.open("a") as file:
                file.write(f"{name} {version} {checksum}\n")
        stop_at("taken", name)
        self.answer(200, {"warnings": {"invalid_categories": [], "invalid_badges": [], "other": []}})


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
say(f"sparse+http://127.0.0.1:{server.server_port}/index/")
for line in sys.stdin:
    word, *rest = line.split()
    if word == "hold":
        step, name, count = rest
        hold = (step, name, int(count))
    elif word == "hide":
        hidden.update(rest)
    elif word == "show":
        hidden.difference_update(rest)
    elif word == "plant":
        plant(*rest)
    elif word == "go":
        going.set()
    say("done", word)
