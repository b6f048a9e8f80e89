"""The settings of [pgbouncer], by headings of the documentation. Data only: no rules across settings."""
