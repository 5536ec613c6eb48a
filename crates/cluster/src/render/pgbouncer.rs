//! PgBouncer's configuration: for SQL readers, to the replicas behind the host's own HAProxy.

use super::HEADER;
use crate::scram::verifier;
use crate::{Host, Secrets, Topology};

/// The instance of a host. No timeout of it ever cuts a query short.
pub fn config(topology: &Topology, host: &Host) -> String {
    format!(
        ";; {HEADER}
[databases]
shanraq = host={address} port={replicas} dbname=shanraq

[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir = {run}
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 20
query_timeout = 0
query_wait_timeout = 0
idle_transaction_timeout = 0
server_connect_timeout = 2
server_login_retry = 1
tcp_keepalive = 1
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
",
        address = host.address,
        replicas = topology.ports.balancer_replicas,
        port = topology.ports.pooler,
        run = host.directories.run.display(),
        users = host.directories.config.join("userlist.txt").display(),
    )
}

/// Readers only. The verifier is the server's own, so PgBouncer logs in with what the client proved to know.
pub fn users(secrets: &Secrets) -> String {
    let role = "shanraq_reader";
    format!("\"{role}\" \"{}\"\n", verifier(role, &secrets.reader))
}
