//! What Patroni runs in place of `pg_rewind`.

use super::HEADER;
use crate::Topology;

/// The script.
pub const FILE: &str = "rewind.sh";

/// Hands Patroni's arguments on.
pub fn script(topology: &Topology) -> String {
    format!(
        "#!/bin/sh
# {HEADER}
exec {shanraq} rewind --pg-rewind {pg_rewind} -- \"$@\"
",
        shanraq = topology.programs.shanraq.display(),
        pg_rewind = topology.programs.postgres_directory.join("pg_rewind").display(),
    )
}
