"""PgBouncer 1.25.2's console as exporters and scripts know it: the columns of each SHOW, in order, with their types.

Names without a type are text. Nothing here is taken from our own code: this table is what that is held against.
"""

from __future__ import annotations


def words(text: str) -> list[str]:
    return text.split()


OIDS = {"": 25, "i": 23, "q": 20, "n": 1700, "b": 17}

_SOCKET = (
    "type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i wait_us:i"
    " close_needed:i ptr link remote_pid:i tls application_name prepared_statements:i id:i"
)
_BUFFERS = " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i"

SHOW: dict[str, str] = {
    "ACTIVE_SOCKETS": _SOCKET + _BUFFERS,
    "CLIENTS": _SOCKET,
    "CONFIG": "key value default changeable",
    "DATABASES": "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i"
    " pool_mode load_balance_hosts max_connections:i current_connections:i max_client_connections:i current_client_connections:i"
    " paused:i disabled:i",
    "DNS_HOSTS": "hostname ttl:q addrs",
    "DNS_ZONES": "zonename serial:q count:i",
    "FDS": "fd:i task user database addr port:i cancel:q link:i client_encoding std_strings datestyle timezone password"
    " scram_client_key:b scram_server_key:b",
    "LISTS": "list items:i",
    "MEM": "name size:i used:i free:i memtotal:i",
    "PEERS": "peer_id:i host port:i pool_size:i",
    "PEER_POOLS": "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i",
    "POOLS": "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i"
    " sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i"
    " pool_mode load_balance_hosts",
    "SERVERS": _SOCKET,
    "SOCKETS": _SOCKET + _BUFFERS,
    "STATE": "key value",
    "STATS": "database total_server_assignment_count:n total_xact_count:n total_query_count:n total_received:n total_sent:n"
    " total_xact_time:n total_query_time:n total_wait_time:n total_client_parse_count:n total_server_parse_count:n"
    " total_bind_count:n total_client_login_count:n avg_server_assignment_count:n avg_xact_count:n avg_query_count:n avg_recv:n"
    " avg_sent:n avg_xact_time:n avg_query_time:n avg_wait_time:n avg_client_parse_count:n avg_server_parse_count:n"
    " avg_bind_count:n avg_client_login_count:n",
    "STATS_AVERAGES": "database server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n"
    " query_time:n wait_time:n avg_client_parse_count:n avg_server_parse_count:n avg_bind_count:n avg_client_login_count:n",
    "STATS_TOTALS": "database server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n xact_time:n"
    " query_time:n wait_time:n client_parse_count:n server_parse_count:n bind_count:n client_login_count:n",
    "TOTALS": "name value:n",
    "USERS": "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i"
    " max_user_client_connections:i current_client_connections:i",
    "VERSION": "version",
}

_TOTALS = words(
    "server_assignment_count xact_count query_count client_bytes server_bytes xact_time query_time wait_time"
    " ps_client_parse_count ps_server_parse_count ps_bind_count client_login_count"
)
TOTALS_ROWS = [f"total_{name}" for name in _TOTALS] + [f"avg_{name}" for name in _TOTALS]

LISTS_ROWS = words(
    "databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers dns_names"
    " dns_zones dns_queries dns_pending"
)

# Every command that changes something, with arguments that do no harm.
ADMIN_ONLY = (
    "PAUSE nowhere",
    "RESUME nowhere",
    "DISABLE nowhere",
    "ENABLE nowhere",
    "RECONNECT nowhere",
    "WAIT_CLOSE nowhere",
    "KILL nowhere",
    "KILL_CLIENT 999999",
    "SUSPEND",
    "SHUTDOWN",
    "SHUTDOWN WAIT_FOR_CLIENTS",
    "RELOAD",
    "SET verbose = 0",
    "SHOW FDS",
)

# SHOW CONFIG of PgBouncer 1.25.2 on Linux: 100 rows, alphabetical but for one pair.
CONFIG_ROWS = words("""
admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file auth_ldap_options auth_query auth_type
auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout client_login_timeout client_tls13_ciphers client_tls_ca_file
client_tls_cert_file client_tls_ciphers client_tls_dheparams client_tls_ecdhcurve client_tls_key_file client_tls_protocols
client_tls_sslmode conffile default_pool_size disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period
idle_transaction_timeout ignore_startup_parameters job_name listen_addr listen_backlog listen_port log_connections
log_disconnections log_pooler_errors log_stats logfile login_notify_message max_client_conn max_db_client_connections
max_db_connections max_packet_size max_prepared_statements max_user_client_connections max_user_connections min_pool_size
peer_id pidfile pkt_buf pool_mode pool_idle_timeout query_timeout query_wait_notify query_wait_timeout reserve_pool_size
reserve_pool_timeout resolv_conf sbuf_loopcnt scram_iterations server_check_delay server_check_query server_connect_timeout
server_fast_close server_idle_timeout server_lifetime server_login_retry server_reset_query server_reset_query_always
server_round_robin server_tls13_ciphers server_tls_ca_file server_tls_cert_file server_tls_ciphers server_tls_key_file
server_tls_protocols server_tls_sslmode so_reuseport stats_period stats_users suspend_timeout syslog syslog_facility syslog_ident
tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_socket_buffer tcp_user_timeout track_extra_parameters
transaction_timeout unix_socket_dir unix_socket_group unix_socket_mode user verbose
""")


def described(columns: str) -> list[tuple[str, int]]:
    """Names and type oids of one line above."""
    parts = (word.partition(":") for word in columns.split())
    return [(name, OIDS[kind]) for name, _, kind in parts]
