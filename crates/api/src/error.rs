//! What a client sees when there is no answer. Owns: the one error type of the edges, its stable codes, and its two
//! renderings (RFC 9457 problem documents, gRPC statuses). Must not: carry text meant for operators.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use history::FilterError;
use node::{ReadError, SubmitError};
use serde::Serialize;
use std::time::Duration;
use tonic::{Code, Status};
use wire::{ERROR_CODE, OUTCOME, RETRY_AFTER_MS, v1};

/// Which part of a request is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// RFC 6901 pointer into the JSON body, such as `/transfers/3/amount`.
    Pointer(String),
    /// A parameter of path or query.
    Parameter(String),
    /// A header.
    Header(&'static str),
    /// A field of a protobuf message, such as `transfers[3].code`.
    Field(String),
}

impl Place {
    fn text(&self) -> &str {
        match self {
            Self::Pointer(text) | Self::Parameter(text) | Self::Field(text) => text,
            Self::Header(text) => text,
        }
    }
}

/// Why a request has no answer. The codes are stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// A field, parameter or header is wrong.
    #[error("{}: {detail}", .place.text())]
    Invalid {
        /// Which.
        place: Place,
        /// What is wrong with it.
        detail: String,
    },
    /// The body is not JSON.
    #[error("line {line}, column {column}: {detail}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1; 0 at the end of the line before.
        column: usize,
        /// What the parser found.
        detail: String,
    },
    /// The body has another type than JSON.
    #[error("Content-Type must be application/json")]
    MediaType,
    /// The body is too large.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The largest body.
        limit_bytes: usize,
    },
    /// No such path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path knows other methods; the `Allow` header names them.
    #[error("this path does not know the method")]
    MethodNotAllowed,
    /// The account does not exist.
    #[error("the account does not exist")]
    NoAccount,
    /// The postings make no transaction.
    #[error("{0}")]
    NoTransaction(String),
    /// Too much is under way. Nothing was done.
    #[error("overloaded; nothing was done")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// No writes now. Nothing was done.
    #[error("the node takes no requests of this kind now; nothing was done")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full. Nothing was done; reads go on.
    #[error("storage is full; nothing was done, reads go on")]
    StorageFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The deadline passed and nothing was done.
    #[error("the deadline passed; nothing was done")]
    NotDone,
    /// The deadline passed after submission.
    #[error("the deadline passed; the outcome is unknown, repeating the same ids is safe")]
    Unknown,
    /// The node cannot read its own files.
    #[error("the node cannot answer; its log says why")]
    Fault,
}

/// How long a client waits after [`ReadError::Unavailable`], which names no delay.
const READ_RETRY: Duration = Duration::from_millis(200);

/// Everything fixed about one kind of error.
struct Kind {
    code: &'static str,
    slug: &'static str,
    title: &'static str,
    status: StatusCode,
    grpc: Code,
}

const fn kind(
    code: &'static str,
    slug: &'static str,
    title: &'static str,
    status: StatusCode,
    grpc: Code,
) -> Kind {
    Kind {
        code,
        slug,
        title,
        status,
        grpc,
    }
}

impl ApiError {
    pub(crate) fn field(place: Place, detail: impl Into<String>) -> Self {
        Self::Invalid {
            place,
            detail: detail.into(),
        }
    }

    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::field(Place::Parameter(name.to_owned()), detail)
    }

    #[rustfmt::skip]
    fn kind(&self) -> Kind {
        use StatusCode as S;
        match self {
            Self::Invalid { .. } => kind("API-0001", "invalid-request", "The request is invalid", S::BAD_REQUEST, Code::InvalidArgument),
            Self::Syntax { .. } => kind("API-0002", "invalid-json", "The body is not valid JSON", S::BAD_REQUEST, Code::InvalidArgument),
            Self::MediaType => kind("API-0003", "unsupported-media-type", "The body has the wrong type", S::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument),
            Self::TooLarge { .. } => kind("API-0004", "body-too-large", "The body is too large", S::PAYLOAD_TOO_LARGE, Code::OutOfRange),
            Self::NoSuchPath => kind("API-0005", "no-such-path", "There is nothing here", S::NOT_FOUND, Code::Unimplemented),
            Self::MethodNotAllowed => kind("API-0006", "method-not-allowed", "Method not allowed", S::METHOD_NOT_ALLOWED, Code::Unimplemented),
            Self::NoAccount => kind("API-0007", "account-not-found", "The account does not exist", S::NOT_FOUND, Code::NotFound),
            Self::NoTransaction(_) => kind("API-0008", "invalid-transaction", "The postings make no transaction", S::UNPROCESSABLE_ENTITY, Code::InvalidArgument),
            Self::Overloaded { .. } => kind("API-0009", "overloaded", "Overloaded", S::TOO_MANY_REQUESTS, Code::ResourceExhausted),
            Self::Unavailable { .. } => kind("API-0010", "unavailable", "Unavailable", S::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::StorageFull { .. } => kind("API-0011", "storage-full", "Storage is full", S::SERVICE_UNAVAILABLE, Code::Unavailable),
            Self::NotDone => kind("API-0012", "deadline-exceeded", "The deadline passed", S::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Self::Unknown => kind("API-0013", "outcome-unknown", "The outcome is unknown", S::GATEWAY_TIMEOUT, Code::DeadlineExceeded),
            Self::Fault => kind("API-0014", "fault", "The node cannot answer", S::INTERNAL_SERVER_ERROR, Code::Internal),
        }
    }

    /// The stable code, such as `API-0001`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The gRPC status code.
    #[must_use]
    pub fn grpc_code(&self) -> Code {
        self.kind().grpc
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::Unavailable { retry_after }
            | Self::StorageFull { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Milliseconds to wait, at least 1 where a delay is meant.
    fn retry_after_ms(&self) -> Option<u32> {
        self.retry_after()
            .map(|delay| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX).max(1))
    }

    /// The same as a member of a Submit stream.
    #[must_use]
    pub fn failure(&self) -> v1::Failure {
        v1::Failure {
            grpc_code: self.grpc_code() as u32,
            code: self.code().to_owned(),
            message: self.to_string(),
            field: match self {
                Self::Invalid { place, .. } => place.text().to_owned(),
                _ => String::new(),
            },
            retry_after_ms: self.retry_after_ms().unwrap_or(0),
            outcome_unknown: *self == Self::Unknown,
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    outcome: &'static str,
}

impl ApiError {
    fn problem(&self) -> Problem<'_> {
        let kind = self.kind();
        let mut problem = Problem {
            kind: format!("urn:shanraq:problem:{}", kind.slug),
            title: kind.title,
            status: kind.status.as_u16(),
            code: kind.code,
            detail: self.to_string(),
            pointer: None,
            parameter: None,
            header: None,
            line: None,
            column: None,
            retry_after_ms: self.retry_after_ms(),
            outcome: if *self == Self::Unknown {
                "unknown"
            } else {
                "nothing_done"
            },
        };
        match self {
            Self::Invalid { place, .. } => match place {
                Place::Pointer(text) | Place::Field(text) => problem.pointer = Some(text),
                Place::Parameter(text) => problem.parameter = Some(text),
                Place::Header(text) => problem.header = Some(text),
            },
            Self::Syntax { line, column, .. } => {
                problem.line = Some(*line);
                problem.column = Some(*column);
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem()).expect("strings and numbers serialize");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(delay) = self.retry_after() {
            // Whole seconds, rounded up: HTTP knows no finer delay; the body does.
            let seconds = delay.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::new(error.grpc_code(), error.to_string());
        let mut insert = |name: &'static str, text: &str| {
            if let Ok(value) = text.parse() {
                status.metadata_mut().insert(name, value);
            }
        };
        insert(ERROR_CODE, error.code());
        insert(OUTCOME, error.problem().outcome);
        if let Some(ms) = error.retry_after_ms() {
            insert(RETRY_AFTER_MS, &ms.to_string());
        }
        status
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            SubmitError::Unavailable { retry_after } => Self::Unavailable { retry_after },
            SubmitError::StorageFull { retry_after } => Self::StorageFull { retry_after },
            SubmitError::Expired => Self::NotDone,
            SubmitError::Unknown => Self::Unknown,
            SubmitError::Invalid(detail) => Self::field(Place::Pointer(String::new()), detail),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Filter(error) => Self::from(error),
            ReadError::Ids => Self::field(Place::Pointer("/ids".to_owned()), error.to_string()),
            ReadError::NoAccount(_) => Self::NoAccount,
            ReadError::Unavailable => Self::Unavailable {
                retry_after: READ_RETRY,
            },
            ReadError::Fault => Self::Fault,
        }
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        let field = match error {
            FilterError::Limit => "limit",
            FilterError::Time => "timestamp_min",
            FilterError::Side => "debits",
        };
        Self::field(Place::Pointer(format!("/{field}")), error.to_string())
    }
}

/// For tower and axum, which pass names in lower case.
pub(crate) const NO_SNIFF: (HeaderName, HeaderValue) = (
    header::X_CONTENT_TYPE_OPTIONS,
    HeaderValue::from_static("nosniff"),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> Vec<ApiError> {
        let retry_after = Duration::from_millis(1_500);
        vec![
            ApiError::field(Place::Pointer("/transfers/3/amount".into()), "must be a number"),
            ApiError::Syntax {
                line: 2,
                column: 7,
                detail: "expected value".into(),
            },
            ApiError::MediaType,
            ApiError::TooLarge { limit_bytes: 9 },
            ApiError::NoSuchPath,
            ApiError::MethodNotAllowed,
            ApiError::NoAccount,
            ApiError::NoTransaction("unbalanced".into()),
            ApiError::Overloaded { retry_after },
            ApiError::Unavailable { retry_after },
            ApiError::StorageFull { retry_after },
            ApiError::NotDone,
            ApiError::Unknown,
            ApiError::Fault,
        ]
    }

    #[test]
    fn every_error_keeps_its_code_and_statuses() {
        let seen: Vec<String> = every_error()
            .iter()
            .map(|e| {
                format!(
                    "{} {} {:?} {}",
                    e.code(),
                    e.status().as_u16(),
                    e.grpc_code(),
                    e.problem().kind
                )
            })
            .collect();
        let golden = [
            "API-0001 400 InvalidArgument urn:shanraq:problem:invalid-request",
            "API-0002 400 InvalidArgument urn:shanraq:problem:invalid-json",
            "API-0003 415 InvalidArgument urn:shanraq:problem:unsupported-media-type",
            "API-0004 413 OutOfRange urn:shanraq:problem:body-too-large",
            "API-0005 404 Unimplemented urn:shanraq:problem:no-such-path",
            "API-0006 405 Unimplemented urn:shanraq:problem:method-not-allowed",
            "API-0007 404 NotFound urn:shanraq:problem:account-not-found",
            "API-0008 422 InvalidArgument urn:shanraq:problem:invalid-transaction",
            "API-0009 429 ResourceExhausted urn:shanraq:problem:overloaded",
            "API-0010 503 Unavailable urn:shanraq:problem:unavailable",
            "API-0011 503 Unavailable urn:shanraq:problem:storage-full",
            "API-0012 504 DeadlineExceeded urn:shanraq:problem:deadline-exceeded",
            "API-0013 504 DeadlineExceeded urn:shanraq:problem:outcome-unknown",
            "API-0014 500 Internal urn:shanraq:problem:fault",
        ];
        assert_eq!(seen, golden);
    }

    #[test]
    fn only_the_unknown_outcome_says_unknown() {
        for error in every_error() {
            let unknown = error == ApiError::Unknown;
            assert_eq!(error.problem().outcome == "unknown", unknown, "{error}");
            assert_eq!(error.failure().outcome_unknown, unknown, "{error}");
            let status = Status::from(error.clone());
            assert_eq!(
                status.metadata().get(OUTCOME).unwrap() == "unknown",
                unknown,
                "{error}"
            );
        }
    }

    #[test]
    fn a_delay_is_given_in_header_body_and_trailer() {
        let error = ApiError::Overloaded {
            retry_after: Duration::from_millis(1_500),
        };
        assert_eq!(error.failure().retry_after_ms, 1_500);
        assert_eq!(
            Status::from(error.clone())
                .metadata()
                .get(RETRY_AFTER_MS)
                .unwrap(),
            "1500"
        );
        assert_eq!(error.problem().retry_after_ms, Some(1_500));
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "2");
    }
}
