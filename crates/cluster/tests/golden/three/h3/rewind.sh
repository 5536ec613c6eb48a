700 postgres
#!/bin/sh
# Written by `shanraq cluster render` from cluster.toml: change that file, not this one.
exec /usr/bin/shanraq rewind --pg-rewind /usr/lib/postgresql/15/bin/pg_rewind -- "$@"
