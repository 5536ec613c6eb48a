//! How a member takes part in the election. Must not: read the environment or files.

use crate::member::check_name;
use crate::{ElectionError, Member};
use std::time::Duration;
use tonic::transport::Uri;

/// How long one endpoint of etcd may take to answer at most.
const ATTEMPT: Duration = Duration::from_millis(500);

/// What [`crate::Elector::start`] needs to know.
#[derive(Clone, Debug)]
pub struct ElectionOptions {
    /// etcd's client addresses, `http://host:port`, of one cluster.
    pub endpoints: Vec<String>,
    /// Below which all keys are; begins and ends with `/`. [`ElectionOptions::new`] makes it `/shanraq/<ledger>/`.
    pub key_prefix: String,
    /// This member, as others are told of it.
    pub member: Member,
    /// How long a writer that cannot reach etcd stays the writer, in seconds, 1 to 60. Default: 5. etcd raises what is less than
    /// one and a half of its election timeouts: with its defaults, 1 becomes 2.
    pub lease_ttl_s: u32,
    /// How long a writer may be silent to a majority of the members before they end its term, in ms, 300 to 60,000. Default: 1,200.
    pub silent_after_ms: u32,
    /// How much earlier than etcd a member believes its lease gone, in ms: room for clocks that run at different
    /// speeds and for stepping down. At least 50, at most a quarter of the lease. Default: 250.
    pub lease_margin_ms: u32,
    /// Candidates wait at random up to so long before they try, in ms, at most half the lease. Default: 20.
    pub jitter_ms: u32,
    /// How long others wait for the named member in a handover, and a member that resigned for any other, in
    /// seconds, 1 to 60. Default: 2.
    pub handover_wait_s: u32,
}

impl ElectionOptions {
    /// For a ledger of this name, all else as by default.
    ///
    /// # Errors
    /// [`ElectionError::Option`] that names the field.
    pub fn new<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
        ledger_name: &str,
        member: Member,
    ) -> Result<Self, ElectionError> {
        check_name("ledger_name", ledger_name)?;
        let options = Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            key_prefix: format!("/shanraq/{ledger_name}/"),
            member,
            lease_ttl_s: 5,
            silent_after_ms: 1_200,
            lease_margin_ms: 250,
            jitter_ms: 20,
            handover_wait_s: 2,
        };
        options.check()?;
        Ok(options)
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`ElectionError::Option`] that names the field.
    pub fn check(&self) -> Result<(), ElectionError> {
        let refuse = |field, reason: String| Err(ElectionError::Option { field, reason });
        self.check_endpoints()?;
        let prefix = &self.key_prefix;
        if !(prefix.starts_with('/') && prefix.ends_with('/') && prefix.len() > 1) {
            return refuse("key_prefix", format!("({prefix:?}) must begin and end with `/`"));
        }
        self.member.check()?;
        if !(1..=60).contains(&self.lease_ttl_s) {
            return refuse("lease_ttl_s", format!("({}) must be 1 to 60", self.lease_ttl_s));
        }
        if !(300..=60_000).contains(&self.silent_after_ms) {
            let reason = format!("({}) must be 300 to 60,000", self.silent_after_ms);
            return refuse("silent_after_ms", reason);
        }
        let ttl_ms = self.lease_ttl_s * 1_000;
        if !(50..=ttl_ms / 4).contains(&self.lease_margin_ms) {
            let given = self.lease_margin_ms;
            let reason = format!("({given}) must be 50 to {}, a quarter of the lease", ttl_ms / 4);
            return refuse("lease_margin_ms", reason);
        }
        if self.jitter_ms > ttl_ms / 2 {
            let given = self.jitter_ms;
            let reason = format!("({given}) must be at most {}, half the lease", ttl_ms / 2);
            return refuse("jitter_ms", reason);
        }
        if !(1..=60).contains(&self.handover_wait_s) {
            let reason = format!("({}) must be 1 to 60", self.handover_wait_s);
            return refuse("handover_wait_s", reason);
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), ElectionError> {
        let field = "endpoints";
        let refuse = |reason: String| Err(ElectionError::Option { field, reason });
        if self.endpoints.is_empty() {
            return refuse("is empty".into());
        }
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            let parsed: Option<Uri> = endpoint.parse().ok();
            let is_usable = |it: &Uri| {
                it.scheme_str() == Some("http")
                    && it.port_u16().is_some_and(|port| port > 0)
                    && matches!(it.path(), "" | "/")
                    && it.query().is_none()
                    && !it.authority().is_some_and(|it| it.as_str().contains('@'))
            };
            if !parsed.as_ref().is_some_and(is_usable) {
                return refuse(format!(
                    "has {endpoint:?}, which is not of the form http://host:port"
                ));
            }
            if self.endpoints[..i].contains(endpoint) {
                return refuse(format!("names {endpoint} twice"));
            }
        }
        Ok(())
    }

    /// How long one endpoint may take to answer: short enough to try three within a lease, and not to be what a failover waits for.
    pub(crate) fn attempt(&self) -> Duration {
        ATTEMPT.min(Duration::from_millis(u64::from(self.lease_ttl_s) * 1_000 / 4))
    }

    pub(crate) fn silent_after(&self) -> Duration {
        Duration::from_millis(self.silent_after_ms.into())
    }

    pub(crate) fn margin(&self) -> Duration {
        Duration::from_millis(self.lease_margin_ms.into())
    }

    pub(crate) fn handover_wait(&self) -> Duration {
        Duration::from_secs(self.handover_wait_s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberName;

    fn options() -> ElectionOptions {
        let member = Member {
            name: MemberName::new("n1").unwrap(),
            grpc_address: "127.0.0.1:1".into(),
            rest_address: "127.0.0.1:2".into(),
            may_write: true,
            instance: String::new(),
        };
        ElectionOptions::new(["http://127.0.0.1:2379"], "main", member).unwrap()
    }

    fn refusal(change: impl FnOnce(&mut ElectionOptions)) -> String {
        let mut options = options();
        change(&mut options);
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn every_option_that_cannot_be_used_is_refused_by_name() {
        assert!(refusal(|it| it.endpoints.clear()).contains("`endpoints`"));
        assert!(refusal(|it| it.key_prefix = "shanraq/".into()).contains("`key_prefix`"));
        assert!(refusal(|it| it.key_prefix = "/".into()).contains("`key_prefix`"));
        assert!(refusal(|it| it.member.grpc_address.clear()).contains("`member.grpc_address`"));
        assert!(refusal(|it| it.lease_ttl_s = 0).contains("`lease_ttl_s`"));
        assert!(refusal(|it| it.lease_ttl_s = 61).contains("`lease_ttl_s`"));
        assert!(refusal(|it| it.silent_after_ms = 299).contains("`silent_after_ms`"));
        assert!(refusal(|it| it.silent_after_ms = 60_001).contains("`silent_after_ms`"));
        assert!(refusal(|it| it.lease_margin_ms = 49).contains("`lease_margin_ms`"));
        assert!(refusal(|it| it.lease_margin_ms = 1_251).contains("`lease_margin_ms`"));
        assert!(refusal(|it| it.jitter_ms = 2_501).contains("`jitter_ms`"));
        assert!(refusal(|it| it.handover_wait_s = 0).contains("`handover_wait_s`"));
        assert!(refusal(|it| it.handover_wait_s = 61).contains("`handover_wait_s`"));
        let refused = ElectionOptions::new(["http://a:1"], "Main", options().member);
        assert!(refused.unwrap_err().to_string().contains("`ledger_name`"));
    }

    #[test]
    fn an_endpoint_that_is_no_plain_address_is_refused_as_it_was_written() {
        let wrong = [
            "127.0.0.1:2379",
            "https://a:2379",
            "http://a",
            "http://a:0",
            "http://a:1/x",
            "http://a:1?x",
            "http://u@a:1",
            "",
        ];
        for endpoint in wrong {
            let refused = refusal(|it| it.endpoints = vec![endpoint.into()]);
            assert!(
                refused.contains("`endpoints`") && refused.contains(endpoint),
                "{refused}"
            );
        }
        let twice = "http://127.0.0.1:2379";
        assert!(refusal(|it| it.endpoints.push(twice.into())).contains("twice"));
    }
}
