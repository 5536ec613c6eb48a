//! Who plays which part in the cluster at a moment: the writer, the primary, the others.

use anyhow::{Context, Result};
use cluster::{Host, HostName, Local, Role, Status};
use rand::RngExt;
use rand::rngs::StdRng;

/// Who has which part. It is looked at before a fault, as the fault may blind the look.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Whose node writes.
    pub writer: HostName,
    /// Whose PostgreSQL takes writes.
    pub primary: HostName,
    /// Whose etcd leads.
    pub etcd_leader: HostName,
    hosts: Vec<HostName>,
    balancers: Vec<HostName>,
    poolers: Vec<HostName>,
    projection: Option<HostName>,
    address_holder: Option<HostName>,
}

impl Cast {
    /// Of what is seen.
    ///
    /// # Errors
    /// A part has nobody.
    pub fn of(local: &Local, status: &Status) -> Result<Self> {
        let hosts = |hosts: Vec<&Host>| hosts.iter().map(|host| host.name.clone()).collect();
        let topology = local.topology();
        Ok(Self {
            writer: status.writer.clone().context("the ledger has no writer")?,
            primary: status.primary.clone().context("PostgreSQL has no primary")?,
            etcd_leader: status.etcd_leader.clone().context("etcd has no leader")?,
            hosts: hosts(topology.hosts.iter().collect()),
            balancers: hosts(topology.hosts_with(Role::Balancer).collect()),
            poolers: hosts(topology.hosts_with(Role::Pooler).collect()),
            projection: status.projection.clone(),
            address_holder: status.address_holder.clone(),
        })
    }

    /// Every host.
    pub fn hosts(&self) -> &[HostName] {
        &self.hosts
    }

    /// All but one.
    pub fn others(&self, than: &HostName) -> Vec<HostName> {
        self.hosts.iter().filter(|host| *host != than).cloned().collect()
    }

    /// One of the others, drawn.
    pub fn another(&self, than: &HostName, random: &mut StdRng) -> HostName {
        draw(&self.others(than), random)
    }

    /// A host with a balancer, drawn.
    pub fn balancer(&self, random: &mut StdRng) -> HostName {
        draw(&self.balancers, random)
    }

    /// A host with a pooler, drawn.
    pub fn pooler(&self, random: &mut StdRng) -> HostName {
        draw(&self.poolers, random)
    }

    /// Whose SQL projection moves the tables.
    ///
    /// # Errors
    /// Nobody's.
    pub fn projection(&self) -> Result<&HostName> {
        self.projection.as_ref().context("nobody moves the tables")
    }

    /// Who holds the balancers' shared address.
    ///
    /// # Errors
    /// Nobody.
    pub fn address_holder(&self) -> Result<&HostName> {
        self.address_holder
            .as_ref()
            .context("nobody holds the shared address")
    }
}

fn draw(from: &[HostName], random: &mut StdRng) -> HostName {
    from[random.random_range(0..from.len())].clone()
}
