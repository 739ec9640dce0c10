"""uvicorn's HTTP protocol, which collects the head of a request and refuses one that no route may see."""

from typing import NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.http.request_head import (
    HOST_BYTES,
    HTTP_VERSIONS,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    EncodingNotSupported,
    HeaderRepeated,
    HeadersTooLarge,
    HostInvalid,
    TargetTooLong,
    TransferCodingNotSupported,
    VersionNotSupported,
)
from edge.problems import BodyTooLarge, HttpError, NoSuchPath


class HeadProtocol(HttpToolsProtocol):
    """The parser's callbacks up to the end of a head, without a scope: a request that is not ASGI needs none."""

    _authorization: bytes | None = None
    _host = False
    _header_bytes = 0
    # Bytes received since the head began, while it is incomplete; -1 outside of a head.
    _head_bytes = -1
    _declared_bytes = 0
    # Why this connection ends; nothing more is parsed.
    _refusal: HttpError | None = None

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._authorization = None
        self._host = False
        self._header_bytes = self._head_bytes = self._declared_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        length = len(name)  # distinguishes nearly all of them
        self._header_bytes += length + len(value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HeadersTooLarge())
        if length == 13:
            if name.lower() == b"authorization":
                if self._authorization is not None:
                    self._refuse(HeaderRepeated("Authorization"))
                self._authorization = value
        elif length == 14:
            if name.lower() == b"content-length" and value.isdigit():
                self._declared_bytes = int(value)
        elif length == 4:
            if name.lower() == b"host":
                if self._host or value.translate(None, HOST_BYTES):
                    self._refuse(HostInvalid())
                self._host = True
        elif length == 16:
            if name.lower() == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
                self._refuse(EncodingNotSupported())
        elif length == 17:
            if name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
                self._refuse(TransferCodingNotSupported())
        elif length == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _checked_version(self) -> str:
        """Return the HTTP version of a complete head, whose target and Host may be of any route."""
        version: str = self.parser.get_http_version()
        if len(self.url) > MAX_TARGET_BYTES:
            self._refuse(TargetTooLong())
        if not self._host and version == "1.1":
            self._refuse(HostInvalid())
        return version

    def _make_scope(self, version: str) -> None:
        """Make the ASGI scope, which on_message_begin left out, unless no route may see the head."""
        if version not in HTTP_VERSIONS:
            self._refuse(VersionNotSupported())
        # An encoded slash is not a slash (RFC 3986, 2.2), but uvicorn decodes the path before it is matched.
        if b"%2f" in self.url.partition(b"?")[0].lower():
            self._refuse(NoSuchPath())
        if self._declared_bytes > MAX_BODY_BYTES:
            self._refuse(BodyTooLarge(MAX_BODY_BYTES))
        # Trailers go to another list: they are not headers of the request.
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.scope["headers"] = [(name.lower(), value) for name, value in headers]

    def _refuse(self, error: HttpError) -> NoReturn:
        """Stop the parser; `data_received` of DirectProtocol answers."""
        self._refusal = error
        raise error
