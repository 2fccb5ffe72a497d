"""One file over HTTP: continued where a broken transfer stopped, begun again if the file has changed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from bench import __version__
from bench.assets.partial import Mark, Partial
from bench.errors import AssetError

CHUNK = 1 << 18
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
RANGE = re.compile(r"bytes (?P<first>\d+)-(?P<last>\d+)/(?P<total>\d+|\*)")


class Broken(Exception):
    """An attempt that failed in a way that another may not; the message says how."""


@dataclass(frozen=True)
class Patience:
    """How long a transfer is tried.

    Attributes:
        attempts: in a row that bring nothing new; timeout: seconds without a byte.
        pause: seconds before the second attempt, doubled each time.
    """

    attempts: int = 5
    timeout: float = 30.0
    pause: float = 1.0


PATIENCE = Patience()


class SafeRedirects(HTTPRedirectHandler):
    """Follows redirects to the web only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request, with the range of the first; raises AssetError for a place that is not safe."""
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old, new) == ("https", "http"):
            fp.close()
            raise AssetError(f"{req.full_url}: redirects from {old} to {new}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class Download:
    """A transfer into a partial file.

    Attributes:
        size: published bytes, if known; proven: a digest is known, so that bytes of two attempts may be
            joined even if the server gives no validator.
        report: called with bytes done and bytes in all (None if unknown).
    """

    url: str
    partial: Partial
    size: int | None
    proven: bool
    patience: Patience
    report: Callable[[int, int | None], None]

    def run(self) -> None:
        """Fetch the whole file.

        Raises:
            AssetError: the server refuses, or all attempts broke; bytes that can be continued are kept.
        """
        best, left = self.partial.size, self.patience.attempts
        while True:
            try:
                return self._attempt()
            except Broken as broken:
                left = self.patience.attempts if self.partial.size > best else left - 1
                best = max(best, self.partial.size)
                if left <= 0:
                    raise self._given_up(broken) from broken
                time.sleep(self.patience.pause * 2 ** (self.patience.attempts - left))

    def _given_up(self, broken: Broken) -> AssetError:
        kept = self.partial.size if self._start() else 0
        if not kept:
            self.partial.drop()
        rest = f"{kept:,} bytes are kept, the same command goes on" if kept else "try again later"
        return AssetError(f"{self.url}: {broken}, {self.patience.attempts} times without progress; {rest}")

    def _start(self) -> int:
        """Bytes that may be kept: they are of this address, and are known to be of the same file."""
        mark = self.partial.mark()
        same = mark is not None and mark.url == self.url and (mark.validator or self.proven)
        return self.partial.size if same else 0

    def _attempt(self) -> None:
        start, mark = self._start(), self.partial.mark()
        if start and mark and mark.total == start:
            return
        headers = {"User-Agent": f"distillbench/{__version__}", "Accept-Encoding": "identity"}
        if start and mark:
            headers["Range"] = f"bytes={start}-"
            headers |= {"If-Range": mark.validator} if mark.validator else {}
        try:
            request = Request(self.url, headers=headers)
            with build_opener(SafeRedirects).open(request, timeout=self.patience.timeout) as response:
                self._receive(response, start, mark)
        except HTTPError as error:
            with error:
                self._refused(error, start)
        except (OSError, HTTPException) as error:
            raise Broken(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, TimeoutError):
            return f"nothing arrived for {self.patience.timeout:g} s"
        if isinstance(cause, ConnectionResetError):
            return "the connection was reset"
        return f"the connection failed ({cause})"

    def _refused(self, error: HTTPError, start: int) -> None:
        if error.code == 416 and start:
            self.partial.drop()
            raise Broken("the server refused to go on, so the file is begun again")
        if error.code in TRANSIENT:
            raise Broken(f"HTTP {error.code} ({error.reason})")
        raise AssetError(f"{self.url}: HTTP {error.code} ({error.reason}); the address may be gone or closed")

    def _receive(self, response: HTTPResponse, start: int, mark: Mark | None) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AssetError(f"{self.url}: the server sends the file compressed, though asked not to")
        fresh = self._mark_of(response)
        if response.status == 206:
            total = self._continued(response, start, mark, fresh)
        else:  # a whole file: ranges are ignored, or it is not the file of before
            start, total = 0, fresh.total
            self.partial.begin(fresh)
        if self.size is not None and total not in (None, self.size):
            self.partial.drop()
            raise AssetError(f"{self.url}: the server has {total:,} bytes, expected {self.size:,}")
        self._stream(response, start, total)

    def _mark_of(self, response: HTTPResponse) -> Mark:
        etag, length = response.headers.get("ETag"), response.headers.get("Content-Length", "")
        strong = etag if etag and not etag.startswith("W/") else None
        total = int(length) if length.isdigit() else None
        return Mark(self.url, strong, response.headers.get("Last-Modified"), total)

    def _continued(self, response: HTTPResponse, start: int, mark: Mark | None, fresh: Mark) -> int | None:
        """Bytes in all of a continued file; raises Broken, with nothing kept, if it is another file."""
        found = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = int(found["total"]) if found and found["total"].isdigit() else None
        known = mark.total if mark else None
        changed = mark and mark.etag and fresh.etag not in (None, mark.etag)
        resized = total is not None and known is not None and total != known
        if not found or int(found["first"]) != start or changed or resized:
            self.partial.drop()
            raise Broken("the file changed while it was fetched, so it is begun again")
        return total or known

    def _stream(self, response: HTTPResponse, start: int, total: int | None) -> None:
        done, limit = start, total if total is not None else self.size
        with self.partial.appending() as file:
            while chunk := response.read1(CHUNK):
                done += len(chunk)
                if limit is not None and done > limit:
                    self.partial.drop()
                    raise AssetError(f"{self.url}: the server sends more than the {limit:,} bytes it has")
                self.partial.write(file, chunk)
                self.report(done, limit)
        if limit is not None and done < limit:
            raise Broken(f"the transfer ended after {done:,} of {limit:,} bytes")
