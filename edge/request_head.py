"""What a request's head may not be, whatever its route."""

from edge.problems import HttpError

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 << 10
MAX_TARGET_BYTES = 8 << 10


class HeadersTooLarge(HttpError):
    def __init__(self) -> None:
        super().__init__(431, f"send at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes in all")


class TargetTooLong(HttpError):
    def __init__(self) -> None:
        super().__init__(414, f"the path and query may be {MAX_TARGET_BYTES} bytes long")


class HostMissing(HttpError):
    """RFC 9112, 3.2."""

    def __init__(self) -> None:
        super().__init__(400, "HTTP/1.1 needs a Host header")


class HeaderRepeated(HttpError):
    """A second value would leave open which of the two counts."""

    def __init__(self, name: str) -> None:
        super().__init__(400, f"send the {name} header once")


class EncodingNotSupported(HttpError):
    def __init__(self) -> None:
        super().__init__(415, "send the body as it is: no Content-Encoding but identity is supported")


class NotHttp(HttpError):
    def __init__(self) -> None:
        super().__init__(400, "this is not a valid HTTP/1.1 request")
