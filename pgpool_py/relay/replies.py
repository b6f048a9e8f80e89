"""The few messages the relay makes itself, as bytes."""

from pgwire import ErrorResponse, NoticeResponse, ParameterStatus

_READY = {status: b"Z\0\0\0\5" + bytes([status]) for status in b"ITE"}


def ready_for_query(status: int) -> bytes:
    """ReadyForQuery with that transaction status byte."""
    return _READY[status]


def parameter_status(name: bytes, value: bytes) -> bytes:
    """ParameterStatus for one reported setting."""
    return ParameterStatus(name, value).encode()


def notice_response(message: str, severity: str = "NOTICE", code: str = "00000") -> bytes:
    """NoticeResponse of the pooler's own."""
    return NoticeResponse.make(severity, code, message).encode()


def error_response(severity: str, code: str, message: str, routine: str = "") -> bytes:
    """ErrorResponse with the fields every client expects; *routine*: PostgreSQL's, where drivers look at that."""
    return ErrorResponse.make(severity, code, message, routine=routine).encode()
