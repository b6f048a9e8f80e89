"""Every message by the byte that announces it, and which side may say it.

Gathers the modules in which the messages are written. Password messages are not in the table: which of the
four a "p" is depends on what was asked (state.PASSWORD_KINDS).
"""

from __future__ import annotations

from . import backend_messages as backend
from . import frontend_messages as frontend
from . import result_messages as result
from .auth_messages import decode_authentication
from .codes import Backend, Frontend
from .errors import malformed
from .wire import Message

FRONTEND_MESSAGES: dict[int, type[Message]] = {
    Frontend.BIND: frontend.Bind,
    Frontend.CLOSE: frontend.Close,
    Frontend.COPY_DATA: result.CopyData,
    Frontend.COPY_DONE: result.CopyDone,
    Frontend.COPY_FAIL: frontend.CopyFail,
    Frontend.DESCRIBE: frontend.Describe,
    Frontend.EXECUTE: frontend.Execute,
    Frontend.FLUSH: frontend.Flush,
    Frontend.FUNCTION_CALL: frontend.FunctionCall,
    Frontend.PARSE: frontend.Parse,
    Frontend.QUERY: frontend.Query,
    Frontend.SYNC: frontend.Sync,
    Frontend.TERMINATE: frontend.Terminate,
}

BACKEND_MESSAGES: dict[int, type[Message]] = {
    Backend.BACKEND_KEY_DATA: backend.BackendKeyData,
    Backend.BIND_COMPLETE: result.BindComplete,
    Backend.CLOSE_COMPLETE: result.CloseComplete,
    Backend.COMMAND_COMPLETE: result.CommandComplete,
    Backend.COPY_BOTH_RESPONSE: result.CopyBothResponse,
    Backend.COPY_DATA: result.CopyData,
    Backend.COPY_DONE: result.CopyDone,
    Backend.COPY_IN_RESPONSE: result.CopyInResponse,
    Backend.COPY_OUT_RESPONSE: result.CopyOutResponse,
    Backend.DATA_ROW: result.DataRow,
    Backend.EMPTY_QUERY_RESPONSE: result.EmptyQueryResponse,
    Backend.ERROR_RESPONSE: backend.ErrorResponse,
    Backend.FUNCTION_CALL_RESPONSE: result.FunctionCallResponse,
    Backend.NEGOTIATE_PROTOCOL_VERSION: backend.NegotiateProtocolVersion,
    Backend.NO_DATA: result.NoData,
    Backend.NOTICE_RESPONSE: backend.NoticeResponse,
    Backend.NOTIFICATION_RESPONSE: backend.NotificationResponse,
    Backend.PARAMETER_DESCRIPTION: result.ParameterDescription,
    Backend.PARAMETER_STATUS: backend.ParameterStatus,
    Backend.PARSE_COMPLETE: result.ParseComplete,
    Backend.PORTAL_SUSPENDED: result.PortalSuspended,
    Backend.READY_FOR_QUERY: backend.ReadyForQuery,
    Backend.ROW_DESCRIPTION: result.RowDescription,
}

# Those that both sides may send; every other class belongs to one side.
COPY_MESSAGES = (result.CopyData, result.CopyDone)


def decode_backend(code: int, body: bytes) -> Message:
    """The message a server sent with this type and body."""
    if code == Backend.AUTHENTICATION:
        return decode_authentication(body)
    kind = BACKEND_MESSAGES.get(code)
    if kind is None:
        raise malformed(f"unexpected message type 0x{code:02X} from server")
    return kind.decode(body)
