700 postgres
#!/bin/sh
# Written by `shanraq cluster render` from cluster.toml: change that file, not this one.
# The connection string that Patroni gives is not used: it may carry a password, and a command line is public.
exec /usr/lib/postgresql/15/bin/psql -X -q -v ON_ERROR_STOP=1 -h /run/shanraq -p 5432 -U postgres -d postgres -f /etc/shanraq/roles.sql
