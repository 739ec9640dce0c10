"""Limits and errors of a request's head, the same for every route and on both ports."""

from edge.problems import HttpError

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10
# The largest body that any route takes: an uploaded model.
MAX_BODY_BYTES = 256 << 20
HTTP_VERSIONS = ("1.0", "1.1")
# RFC 3986, 3.2.2: a name, an IPv4 address or an IPv6 address in brackets, and a port.
HOST_BYTES = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%:[]"


class HeadersTooLarge(HttpError):
    def __init__(self) -> None:
        super().__init__(431, f"send at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all")


class TargetTooLong(HttpError):
    def __init__(self) -> None:
        super().__init__(414, f"the path and query may be {MAX_TARGET_BYTES} bytes long")


class HostInvalid(HttpError):
    """RFC 9112, 3.2: HTTP/1.1 needs one, and only one, valid Host header."""

    def __init__(self) -> None:
        super().__init__(400, "send one Host header with a host name or address, and a port if needed")


class HeaderRepeated(HttpError):
    """A repeated header is ambiguous: which value counts?"""

    def __init__(self, name: str) -> None:
        super().__init__(400, f"send the {name} header once")


class EncodingNotSupported(HttpError):
    def __init__(self) -> None:
        super().__init__(415, "send the body as it is: no Content-Encoding but identity is supported")


class TransferCodingNotSupported(HttpError):
    """RFC 9112, 6.1."""

    def __init__(self) -> None:
        super().__init__(501, "send the body as it is: no Transfer-Encoding but chunked is supported")


class VersionNotSupported(HttpError):
    def __init__(self) -> None:
        super().__init__(505, "use HTTP/1.1")


class NotHttp(HttpError):
    def __init__(self) -> None:
        super().__init__(400, "this is not a valid HTTP/1.1 request")
