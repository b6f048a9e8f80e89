# The pooler, compiled, as process 1 of a small image. No BuildKit features: the classic builder makes it too.
#
#   docker build -t pgpool_py .
#   docker run -v ./pgbouncer.ini:/etc/pgpool_py/pgbouncer.ini:ro -p 127.0.0.1:6432:6432 pgpool_py

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md /src/
COPY protocol /src/protocol
COPY pgpool_py /src/pgpool_py
# Extensions are optional for pip, not here: the version line must say that the compiled build runs.
RUN python -m venv --without-pip /opt/pgpool_py \
    && CFLAGS=-g0 pip --python /opt/pgpool_py/bin/python install --no-cache-dir '/src[ldap,metrics,pam]' \
    && cd / \
    && /opt/pgpool_py/bin/pgpool_py --version \
    && /opt/pgpool_py/bin/pgpool_py --version | grep -q '^build: compiled'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/pgpool_py /opt/pgpool_py
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir / pgpool_py \
    && mkdir /etc/pgpool_py
ENV PATH=/opt/pgpool_py/bin:$PATH PGPOOL_PY_HEALTH_PORT=6432
USER 10001:10001
EXPOSE 6432
# SIGINT: no new clients, transactions end, then exit (PgBouncer's SHUTDOWN WAIT_FOR_SERVERS).
STOPSIGNAL SIGINT
# A CancelRequest for nobody: a living pooler closes the connection at once, and logs nothing.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["python", "-ISc", "import os, socket; s = socket.create_connection(('127.0.0.1', int(os.environ['PGPOOL_PY_HEALTH_PORT'])), 2); s.sendall(bytes.fromhex('0000001004d2162e') + bytes(8)); raise SystemExit(s.recv(1) != b'')"]
ENTRYPOINT ["pgpool_py"]
CMD ["/etc/pgpool_py/pgbouncer.ini"]
