//! Ranges of keys, and the comparisons and changes that a transaction is made of (pure).

use crate::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::request_op::Request;
use crate::proto::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp};

/// A lease's id in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(pub i64);

/// One key.
#[must_use]
pub fn one(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        range_end: Vec::new(),
    }
}

/// All keys that begin with this one, which ends with `/`; `0` is the character after that.
#[must_use]
pub fn under(prefix: &str) -> RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    end.pop();
    end.push(b'0');
    RangeRequest {
        key: prefix.into(),
        range_end: end,
    }
}

/// Puts a key, on a lease if one is given.
#[must_use]
pub fn put(key: &str, value: Vec<u8>, lease: Option<LeaseId>) -> RequestOp {
    let put = PutRequest {
        key: key.into(),
        value,
        lease: lease.map_or(0, |it| it.0),
    };
    RequestOp {
        request: Some(Request::RequestPut(put)),
    }
}

/// Removes a key if it is there.
#[must_use]
pub fn delete(key: &str) -> RequestOp {
    let delete = DeleteRangeRequest { key: key.into() };
    RequestOp {
        request: Some(Request::RequestDeleteRange(delete)),
    }
}

/// Holds when the key was made in this revision; 0: is not there.
#[must_use]
pub fn compare_created(key: &str, revision: i64) -> Compare {
    compare(key, CompareTarget::Create, TargetUnion::CreateRevision(revision))
}

/// Holds when the key is not there.
#[must_use]
pub fn compare_absent(key: &str) -> Compare {
    compare_created(key, 0)
}

/// Holds when the key was last written in this revision; 0: is not there.
#[must_use]
pub fn compare_modified(key: &str, revision: i64) -> Compare {
    compare(key, CompareTarget::Mod, TargetUnion::ModRevision(revision))
}

/// Holds when the key has this value.
#[must_use]
pub fn compare_value(key: &str, value: &[u8]) -> Compare {
    compare(key, CompareTarget::Value, TargetUnion::Value(value.to_vec()))
}

fn compare(key: &str, target: CompareTarget, value: TargetUnion) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.into(),
        target_union: Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_is_below_the_prefix_and_nothing_else() {
        let range = under("/a/election/");
        let holds =
            |key: &str| range.key.as_slice() <= key.as_bytes() && key.as_bytes() < range.range_end.as_slice();
        assert!(holds("/a/election/writer"));
        assert!(holds("/a/election/\u{7f}"));
        assert!(!holds("/a/election"));
        assert!(!holds("/a/election0"));
        assert!(!holds("/a/elections/x"));
    }
}
