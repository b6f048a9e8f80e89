cimport cython
from pgpool_py.session.scan cimport Scanner
from pgpool_py.session.settings cimport Settings

@cython.final
cdef class Statement:
    cdef public bytes body
    cdef public object settings
    cdef public long epoch
    cdef public bint private
    cdef public bint of_moment
    cdef public bytes types
    cdef public bytes columns
    cdef public long verdict
    cdef public long facts_seen
    cdef public bytes server_name
    cdef public object effects

    cpdef Statement own(self, long epoch, bytes types=*)
    cpdef bytes typed(self, bytes types)

@cython.final
cdef class SessionContext:
    cdef public Scanner scanner
    cdef object _judge_types
    cdef public object table
    cdef public bint pooling
    cdef public bint statement_pooling
    cdef public bint watching
    cdef public bint keeping
    cdef public bint exact
    cdef public int pin_mode
    cdef public double pin_timeout
    cdef public bytes user
    cdef public frozenset forbidden
    cdef public frozenset privileged
    cdef public object placeholders
    cdef public long session_reset
    cdef public bint always_reset
    cdef public bint no_simple_query
    cdef public bytes reset_query
    cdef public bytes connect_query
    cdef public Settings start
    cdef public int max_prepared_statements
    cdef public long long max_packet_size
    cdef public double reset_timeout
    cdef public double leaving_query_timeout
    cdef public long facts_seen
    cdef public long epoch
    cdef public bint facts_stale
    cdef public Scanner scanner_before
    cdef public long makes
    cdef public bint reads_sequences
    cdef public set seen
    cdef public bint sets_buffers
    cdef public int sequence_trial
    cdef public set sequence_readers
    cdef public long long query_count
    cdef public long long transaction_count
    cdef public double query_time
    cdef public double transaction_time
    cdef public long long client_parse_count
    cdef public long long server_parse_count
    cdef public long long bind_count
    cdef public long long login_count
    cdef public long long bytes_received
    cdef public long long bytes_sent
    cdef public long long doubts
    cdef public bytes token
    cdef long long _number
    cdef int _limit
    cdef dict _reported

    cpdef bytes new_name(self)
    cpdef bytes name(self, Statement statement)
    cpdef judge(self, Statement statement)
    cpdef learn(self, Scanner scanner)
    cpdef doubt(self, Scanner scanner)
    cpdef catalogs_changed(self)
    @cython.locals(known=Statement, statements=dict, meaning=Settings)
    cpdef Statement statement(self, Settings settings, bytes body)
    cpdef tried_sequences(self)
    cpdef sequence_reader(self, bytes application)
    cpdef sequences_read(self)
    cpdef dict reported(self, dict old, bytes name, bytes value)
    cpdef dict same_reported(self, dict values)
