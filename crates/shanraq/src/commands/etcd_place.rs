//! Where a cluster's etcd is, for commands that ask it alone. Owns: the options that say so.

use anyhow::{Context, Result, ensure};
use clap::Args;
use cluster::{Local, Role, Topology};
use etcd::Client;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long one endpoint may take to answer.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Where etcd is: `--etcd`, else `--topology`, else the cluster on this machine.
#[derive(Debug, Args)]
pub struct EtcdPlace {
    /// The directory of a cluster that `up` runs on this machine.
    #[arg(long, default_value = "/var/lib/shanraq/cluster")]
    dir: PathBuf,
    /// The topology, `cluster.toml`, instead of a directory.
    #[arg(long)]
    topology: Option<PathBuf>,
    /// etcd's client addresses instead of either: `http://host:port`, several with commas.
    #[arg(long, value_delimiter = ',')]
    etcd: Vec<String>,
    /// The ledger's name.
    #[arg(long, default_value = "main")]
    ledger: String,
    /// The cluster's name, Patroni's scope, below which the sentinel's off switch is. Default: the topology's, or `shanraq`.
    #[arg(long)]
    scope: Option<String>,
}

/// etcd, and whose keys are asked for.
pub struct Reach {
    pub etcd: Arc<Client>,
    pub ledger: String,
    pub scope: String,
}

impl EtcdPlace {
    /// Connects to nobody yet; to be called within a runtime.
    pub fn reach(&self) -> Result<Reach> {
        let (endpoints, name) = self.endpoints()?;
        configuration::check_ledger(&self.ledger)?;
        Ok(Reach {
            etcd: Arc::new(Client::new(&endpoints, ATTEMPT).context("--etcd")?),
            ledger: self.ledger.clone(),
            scope: self.scope.clone().unwrap_or(name),
        })
    }

    fn endpoints(&self) -> Result<(Vec<String>, String)> {
        if !self.etcd.is_empty() {
            return Ok((self.etcd.clone(), "shanraq".to_owned()));
        }
        let topology = match &self.topology {
            Some(path) => Topology::read(path)?,
            None => Local::open(&self.dir)
                .context("no cluster of this machine; --topology or --etcd names another")?
                .topology()
                .clone(),
        };
        let port = topology.ports.etcd_client;
        let endpoints: Vec<String> = topology
            .hosts_with(Role::Etcd)
            .map(|host| format!("http://{}:{port}", host.address))
            .collect();
        ensure!(
            !endpoints.is_empty(),
            "the topology has no host with the role etcd"
        );
        Ok((endpoints, topology.name))
    }
}

impl Reach {
    /// Below which all keys of the ledger are.
    pub fn key_prefix(&self) -> String {
        format!("/shanraq/{}/", self.ledger)
    }

    /// Whether the sentinel is switched off (docs/sentinel.md).
    pub async fn sentinel_is_off(&self) -> Result<bool> {
        let key = format!("/shanraq/{}/sentinel/off", self.scope);
        let answer = self.etcd.range("read the off switch", &etcd::one(&key)).await?;
        Ok(!answer.kvs.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        place: EtcdPlace,
    }

    fn place(words: &[&str]) -> EtcdPlace {
        Line::try_parse_from([&["test"], words].concat()).unwrap().place
    }

    /// Two hosts, one of which has etcd.
    const TOPOLOGY: &str = "name = \"bank\"\nnodes = false\n[durability]\nmode = \"local\"\n\
        [ports]\netcd_client = 12379\n\
        [[hosts]]\nname = \"h1\"\naddress = \"192.0.2.1\"\nroles = [\"etcd\", \"postgres\"]\n\
        [[hosts]]\nname = \"h2\"\naddress = \"192.0.2.2\"\nroles = [\"balancer\"]\n";

    #[test]
    fn etcd_is_found_by_its_addresses_or_a_topology_or_a_clusters_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cluster.toml");
        std::fs::write(&file, TOPOLOGY).unwrap();
        let (folder, file) = (directory.path().to_str().unwrap(), file.to_str().unwrap());
        let found = (vec!["http://192.0.2.1:12379".to_owned()], "bank".to_owned());
        assert_eq!(place(&["--topology", file]).endpoints().unwrap(), found);
        assert_eq!(place(&["--dir", folder]).endpoints().unwrap(), found);
        let given = place(&["--etcd", "http://a:1,http://b:2", "--dir", folder]);
        let (endpoints, _) = given.endpoints().unwrap();
        assert_eq!(endpoints, ["http://a:1", "http://b:2"]);
        let gone = directory.path().join("gone");
        let refused = place(&["--dir", gone.to_str().unwrap()]).endpoints().unwrap_err();
        assert!(
            format!("{refused:#}").contains("--etcd names another"),
            "{refused:#}"
        );
    }

    #[tokio::test]
    async fn a_ledger_and_addresses_that_cannot_be_are_refused_by_name() {
        let refused = |words: &[&str]| format!("{:#}", place(words).reach().err().unwrap());
        assert!(refused(&["--etcd", "http://a:1", "--ledger", "a/b"]).contains("ledger: "));
        assert!(refused(&["--etcd", "http://a b"]).contains("--etcd"));
    }
}
