# Makes the cluster at the first start, as the image postgres does, and becomes its server.
set -eu
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    install -o postgres -m 0600 "$POSTGRES_PASSWORD_FILE" /tmp/password
    setpriv --reuid=postgres --regid=postgres --init-groups \
        initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    setpriv --reuid=postgres --regid=postgres --init-groups sh -c \
        'pg_ctl --wait --silent --options="-c listen_addresses= -c unix_socket_directories=/tmp" start && createdb --host=/tmp --username="$POSTGRES_USER" "$POSTGRES_USER" && pg_ctl --wait --silent stop'
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
