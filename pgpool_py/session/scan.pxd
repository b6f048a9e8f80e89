cimport cython
from pgpool_py.session._begins cimport begins

# Constants as C integers; their meaning is in scan.py.
cdef int _SQL, _PLPGSQL, _NAMES, _OTHER, _WORD, _DIGIT, _SPACE, _QUOTE, _DOUBLE, _DASH, _SLASH, _DOLLAR
cdef int _SEMICOLON, _OPERATOR, _OPEN, _CLOSE, _DOT, _BAD, _SHIFT, _MASK, _OPAQUE, _UNSURE, _SETTINGS
cdef int _STATEMENT, _EXECUTES, _LISTEN, _PIN, _CLEANUP, _DDL, _SEEDS, _LIBRARY, _ENDS, _EXIT, _XACT, _READS_SETTINGS
cdef int _RELEASES, _FILLS, _MODIFIES, _WRITES, _LONGEST
cdef unsigned long long _MIX, _ALL
cdef int _BEGINNINGS, _SHORTEST_BEGINNING, _LONGEST_BEGINNING, _SELDOM
cdef int _K_NONE, _K_QUERY, _K_SELECT, _K_TABLE, _K_INSERT, _K_UPDATE, _K_MODIFY, _K_PLAIN, _K_BEGIN, _K_START, _K_COMMIT, _K_END
cdef int _K_ROLLBACK, _K_PREPARE, _K_EXECUTE, _K_DEALLOCATE, _K_SET, _K_RESET, _K_DISCARD, _K_LISTEN
cdef int _K_UNLISTEN, _K_DECLARE, _K_CLOSE, _K_EXPLAIN, _K_ANALYZE, _K_VERBOSE, _K_DDL, _K_CREATE, _K_ALTER, _K_DROP, _K_LOAD
cdef int _K_CALL, _K_DO, _K_INTO, _K_TEMP, _K_HOLD, _K_WITHOUT, _K_LOCAL, _K_TRANSACTION, _K_CONSTRAINTS
cdef int _K_SEED, _K_TO, _K_PREPARED, _K_ALL, _K_LITERAL, _K_PL, _K_STARTER, _K_OTHER, _K_UNKNOWN, _K_OPENS
cdef int _HAS_INTO, _HAS_TEMP, _HAS_HOLD, _HAS_TO, _HAS_PREPARED, _HAS_CUSTOM, _HAS_UNKNOWN, _HAS_UPDATE
cdef int _HAS_SEED, _HAS_ALL, _HAS_EARLY_DOT, _HAS_TABLE, _HAS_SELECT, _HAS_TOP_SELECT, _HAS_MODIFY

cdef bytes _KIND_BYTES
cdef bytes _FOLD_BYTES
cdef const unsigned char *_KINDS
cdef const unsigned char *_FOLD
cdef bytes _PART_BYTES
cdef const unsigned char *_PART


@cython.final
cdef class Beginning:
    cdef bytes text
    cdef int lead, second, words, has, depth, previous


@cython.final
cdef class Scanner:
    cdef readonly bint informed
    cdef readonly int ddl
    cdef readonly int upkeep
    cdef readonly int nonascii
    cdef readonly dict words
    cdef readonly object code
    cdef Py_ssize_t filter_mask
    cdef bytes filter
    cdef Py_ssize_t mask
    cdef bytes index
    cdef bytes entries
    cdef list beginnings
    cdef int unknown

    cpdef int scan(self, bytes text, int mode=*, set found=*) except -1
    @cython.locals(
        maybe=cython.p_const_uchar, maybe_mask=Py_ssize_t, kinds=cython.p_const_uchar, fold=cython.p_const_uchar,
        part=cython.p_const_uchar, informed=bint, nonascii=int, slot=Py_ssize_t, known=Beginning,
        i=Py_ssize_t, start=Py_ssize_t, c=int, kind=int, last=cython.ulonglong, h=cython.uint, code=int, keyword=int,
        result=int, statements=int, lead=int, second=int, words=int, has=int, depth=int, previous=int,
        leads=bint, declaring=bint, lenient=bint, labelling=bint, doubled=bint)
    cdef int look(self, const unsigned char *data, Py_ssize_t size, int mode, set found) except -1
    @cython.locals(
        index=cython.p_const_uchar, entries=cython.p_const_uchar, fold=cython.p_const_uchar,
        slot=Py_ssize_t, at=Py_ssize_t, k=Py_ssize_t)
    cdef int code_of(self, const unsigned char *data, Py_ssize_t start, Py_ssize_t length, cython.uint h) noexcept
    @cython.locals(bits=int)
    cdef int judge(self, int lead, int second, int words, int has, int mode, int result) noexcept
    cdef int judge_set(self, int second, int has) noexcept


@cython.locals(high=cython.ulonglong)
cdef unsigned long long _eight(const unsigned char *data, Py_ssize_t i) noexcept
cdef Py_ssize_t _slot(const unsigned char *data, Py_ssize_t size) noexcept
cdef bint _may_end(const unsigned char *data, Py_ssize_t end) noexcept
@cython.locals(length=Py_ssize_t)
cdef bint _resumes(const unsigned char *data, Py_ssize_t size, bytes known) except -1
cdef bint _is_ascii(const unsigned char *data, Py_ssize_t i, Py_ssize_t end) noexcept
cdef Py_ssize_t _plain_string(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef Py_ssize_t _escape_string(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef Py_ssize_t _comment(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef Py_ssize_t _number(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef Py_ssize_t _parameter(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef Py_ssize_t _dollar_string(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
cdef bint _is_assigned(const unsigned char *data, Py_ssize_t i, Py_ssize_t size) noexcept
