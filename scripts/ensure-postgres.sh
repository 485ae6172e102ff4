#!/bin/sh
# Makes sure that PostgreSQL's server programs are here, for the tests.
# As root on Debian or Ubuntu it installs them; elsewhere it says what to install.
set -eu

found() {
    [ -n "${TASKFLOW_TEST_PG_BIN:-}" ] && [ -x "$TASKFLOW_TEST_PG_BIN/initdb" ] && return 0
    for bin in /usr/lib/postgresql/*/bin; do
        [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ] && return 0
    done
    command -v initdb >/dev/null 2>&1 && command -v pg_ctl >/dev/null 2>&1
}

found && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "PostgreSQL is missing; installing it with apt-get" >&2
    export DEBIAN_FRONTEND=noninteractive
    # The package must not start a server of its own: the tests start private ones.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends postgresql-15 >&2 ||
        apt-get install -y -qq --no-install-recommends postgresql >&2
    found && exit 0
fi

cat >&2 <<'TEXT'
PostgreSQL's server programs (initdb, pg_ctl) were not found.
Install version 15 or later, for example:
    Debian, Ubuntu:  sudo apt-get install postgresql-15
    Fedora:          sudo dnf install postgresql-server
    macOS:           brew install postgresql@15
or name their directory in TASKFLOW_TEST_PG_BIN. The tests start private
servers of their own; no running server is needed or touched.
TEXT
exit 1
