"""`qflock watch RUN`: the report of a run that still goes on, served on loopback and kept fresh.

The page asks every two seconds and replaces the parts that have changed, where the reader stays: neither the place on
the page nor the focus moves. Without an answer, or with a reason instead of a page, it says so and asks again, ever
less often, down to twice a minute. Nothing but the page is served, only to who asks for this machine by its own name.
"""

import base64
import hashlib
import logging
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from recipes.section import InputError
from server.record import record
from server.report import whole
from server.run_figures import of_run
from server.sheets import sheets
from server.sweep import stamp

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # another Host is another site's page that asks in a reader's name
FILES = ("recipe.yaml", "environment.json", "rounds.jsonl")  # the page is a function of these
SCRIPT = """
const said = document.getElementById('news');
const SHORTEST = 2000, LONGEST = 30000;
let tag = null, read = '', pause = SHORTEST;
function kept(old, fresh) {
  const before = [...old.querySelectorAll('[tabindex],a')], after = [...fresh.querySelectorAll('[tabindex],a')];
  const held = before.indexOf(document.activeElement);
  const places = before.map(one => [one.scrollTop, one.scrollLeft]);
  old.replaceWith(fresh);
  after.forEach((one, i) => { if (places[i]) [one.scrollTop, one.scrollLeft] = places[i]; });
  if (held >= 0 && after[held]) after[held].focus({preventScroll: true});
}
function shown(page) {
  const main = document.querySelector('main'), header = document.querySelector('header');
  const fresh = page.querySelector('header');
  if (header.innerHTML !== fresh.innerHTML) kept(header, fresh);
  const parts = [...page.querySelectorAll('main > section')];
  for (const old of main.querySelectorAll(':scope > section'))
    if (!parts.some(part => part.id === old.id)) old.remove();
  parts.forEach((part, i) => {
    const old = document.getElementById(part.id);
    if (!old) main.insertBefore(part, main.children[i] || null);
    else if (old.innerHTML !== part.innerHTML) kept(old, part);
  });
}
async function wrong() {
  let reply, text;
  try {
    reply = await fetch('/', {cache: 'no-store', headers: tag ? {'If-None-Match': tag} : {}});
    text = await reply.text();
  } catch (error) {
    return 'no answer, asking again';
  }
  if (reply.status === 304) return '';
  if (reply.status !== 200) return text + '; asking again';
  shown(new DOMParser().parseFromString(text, 'text/html'));
  tag = reply.headers.get('ETag');
  read = 'Read at ' + new Date().toLocaleTimeString() + '.';
  return '';
}
async function look() {
  const why = await wrong().catch(error => error + '; asking again');
  if (!why) pause = SHORTEST;
  if (said.textContent !== (why || read)) said.textContent = why || read;
  setTimeout(look, pause);
  if (why) pause = Math.min(2 * pause, LONGEST);
}
look();
"""
TAIL = f'<footer><p id="news" role="status"></p></footer><script>{SCRIPT}</script>'
POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    + "'"
)


class Follower:
    """The newest page of a folder, made again when a file it stands on has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, threading.Lock()
        self._stamps: tuple[tuple[int, int], ...] = ()
        self._page = b""
        record(folder)  # what is no run folder is known before anything is served

    def page(self) -> tuple[str, bytes]:
        """A tag, another for every content, and the page."""
        with self._lock:  # Matplotlib draws for one at a time
            stamps = tuple(stamp(self.folder / name) for name in FILES)
            if stamps != self._stamps:
                known = record(self.folder)
                self._page = whole(known, list(of_run(known)), sheets(known), TAIL).encode(errors="replace")
                self._stamps = stamps
            return f'"{hashlib.sha256(self._page).hexdigest()[:16]}"', self._page


class Page(BaseHTTPRequestHandler):
    """Answers with the page, or that it is the same."""

    follower: ClassVar[Follower]

    def do_GET(self) -> None:
        """The page is all there is."""
        if (self.headers.get("Host") or "").rpartition(":")[0] not in NAMES:
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            try:
                tag, content = self.follower.page()
            except Exception as error:  # noqa: BLE001 - the reader is told, and the next look may go well
                self.excuse(f"no page can be made: {type(error).__name__}: {' '.join(str(error).split())}")
                return
            same = self.headers.get("If-None-Match") == tag
            self.send_response(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK)
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", POLICY)
            if not same:
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not same:
                self.wfile.write(content)

    def excuse(self, reason: str) -> None:
        """The reason for which there is no page, here and there."""
        log.error(reason)
        content = reason.encode(errors="replace")
        self.send_response(HTTPStatus.INTERNAL_SERVER_ERROR)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        """Nobody reads who asked."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Bound to loopback; port 0 is any that is free."""
    handler = type("PageOf", (Page,), {"follower": Follower(folder)})
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise InputError(f"port {port} cannot be used ({error.strerror}): give another --port, or none") from None
