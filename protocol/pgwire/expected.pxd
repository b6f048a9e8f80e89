cimport cython
cdef int DATA_ROW, COMMAND_COMPLETE, READY_FOR_QUERY, ROW_DESCRIPTION, BIND_COMPLETE, PARSE_COMPLETE, CLOSE_COMPLETE
cdef int ERROR_RESPONSE, NOTICE_RESPONSE, PARAMETER_STATUS, NOTIFICATION_RESPONSE, PARAMETER_DESCRIPTION, NO_DATA
cdef int EMPTY_QUERY_RESPONSE, PORTAL_SUSPENDED, FUNCTION_CALL_RESPONSE, COPY_IN_RESPONSE, COPY_OUT_RESPONSE, COPY_DATA, COPY_DONE
cdef int QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FUNCTION_CALL
cdef int _ACTION, _KIND
cdef int FORWARD, SKIP, FAKE
cdef int PASS, SWALLOW, WRONG

@cython.final
cdef class Expected:
    cdef bytearray _codes
    cdef list _notes
    cdef int _head
    cdef int _code
    cdef int _end
    cdef int _copy_syncs
    cdef int _ignored_syncs
    cdef bint _served
    cdef public bint suspect
    cdef public bint failed
    cdef public bint copying_in
    cdef public int owed_ready
    cdef public bint fake_due
    cdef public bint marked
    cdef public list dropped
    cdef public object note

    cpdef int size(self) noexcept
    cpdef int head(self) noexcept
    cpdef object head_note(self)
    @cython.locals(kind=cython.int)
    cpdef int add(self, int code, object note) except -1
    cpdef tuple entry(self, int i)
    cpdef replace_note(self, int i, object note)
    @cython.locals(kind=cython.int)
    cpdef bint lacks_sync(self) noexcept
    cpdef object pop(self)
    cdef _advance(self)
    @cython.locals(code=cython.int, action=cython.int, request=cython.int, result=cython.int, ok=cython.bint, note=object)
    cpdef int answer(self, int kind) except -1
    cpdef copy_ended(self)
    cpdef bint skip_pending(self, object note)
    @cython.locals(request=cython.int)
    cdef _make_room(self)
    cdef int _fail(self, int code) except -1
    cdef int _copy_in(self, int kind) except -1
