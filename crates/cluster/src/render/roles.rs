//! The ledger's database and its roles, made once when the cluster is made.

use super::HEADER;
use crate::scram::verifier;
use crate::{Host, Secrets, Topology};

/// Each role may do what its work needs. Passwords come as SCRAM verifiers, so the server's log never sees one. The
/// writer reads `pg_stat_replication` to know that a standby has flushed. The fence reads `pg_stat_wal_receiver` and sets
/// where a standby streams from, nothing else. Waits are unlimited for all.
pub fn sql(secrets: &Secrets) -> String {
    let mut text = format!("-- {HEADER}\n");
    let roles = [
        ("shanraq_owner", &secrets.owner, 20),
        ("shanraq_writer", &secrets.writer, 40),
        ("shanraq_reader", &secrets.reader, 100),
        ("shanraq_projector", &secrets.projector, 40),
        ("shanraq_fence", &secrets.fence, 10),
    ];
    for (role, password, connections) in roles {
        text += &format!(
            "create role {role} login nosuperuser nocreatedb nocreaterole noreplication\n    connection limit {connections} password '{}';\n",
            verifier(role, password)
        );
    }
    // What the projection's schema grants its rights to: made here, so that the schema's owner, who makes no roles, can
    // migrate. Its own rights are in that schema.
    for role in ["shanraq_projection", "shanraq_projection_reader"] {
        text += &format!("create role {role} nologin;\n");
    }
    text += "grant shanraq_projection_reader to shanraq_projection, shanraq_reader;
grant shanraq_reader, pg_read_all_stats to shanraq_projection;
grant shanraq_projection to shanraq_projector;
grant pg_read_all_stats to shanraq_writer;
grant shanraq_reader to shanraq_writer;
grant pg_read_all_stats to shanraq_fence;
grant alter system on parameter primary_conninfo, primary_slot_name to shanraq_fence;
grant execute on function pg_reload_conf() to shanraq_fence;
create database shanraq owner shanraq_owner template template0 encoding 'UTF8' locale 'C.UTF-8';
revoke all on database shanraq from public;
grant connect on database shanraq to shanraq_writer, shanraq_reader, shanraq_projector;
\\connect shanraq
alter schema public owner to shanraq_owner;
revoke all on schema public from public;
grant usage on schema public to shanraq_writer, shanraq_reader;
";
    text
}

/// Run by Patroni with a connection string; over the local socket, so without a password.
pub fn script(topology: &Topology, host: &Host) -> String {
    format!(
        "#!/bin/sh
# {HEADER}
# The connection string that Patroni gives is not used: it may carry a password, and a command line is public.
exec {psql} -X -q -v ON_ERROR_STOP=1 -h {socket} -p {port} -U postgres -d postgres -f {sql}
",
        psql = topology.programs.postgres_directory.join("psql").display(),
        socket = host.directories.run.display(),
        port = topology.ports.postgres,
        sql = host.directories.config.join("roles.sql").display(),
    )
}
