//! What guards PostgreSQL's failover: the fence, which holds a promotion, and the sentinel, which brings one about.
