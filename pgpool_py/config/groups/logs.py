"""Settings of what is logged, and where."""

from __future__ import annotations

from typing import ClassVar

from pgpool_py.config.setting import Settings, setting
from pgpool_py.config.values import Count, File, OnOff, Text, WholeSeconds


class Logs(Settings):
    """What is logged, and where."""

    group: ClassVar[str] = "Logging"

    logfile: File = setting("", "File to log to; opened again at each reload. Empty: only standard error.")
    verbose: Count = setting(0, "How much more to log, 0 to 3, like `-v` given as often.")
    log_connections: OnOff = setting(True, "Log each login.")
    log_disconnections: OnOff = setting(True, "Log each disconnect with its reason.")
    log_pooler_errors: OnOff = setting(True, "Log each error message sent to a client.")
    log_stats: OnOff = setting(True, "Log a line of totals every `stats_period`.")
    stats_period: WholeSeconds = setting(60, "Interval of averages and of the line of totals.")
    syslog: OnOff = setting(False, "Log to syslog too.")
    syslog_ident: Text = setting("pgbouncer", "Name under which lines go to syslog.")
    syslog_facility: Text = setting("daemon", "Facility under which lines go to syslog.")
