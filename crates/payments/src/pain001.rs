//! Reads ISO 20022 `pain.001`, versions 001.03 to 001.13 (pure). Owns: the message's structure.
//! Must not: know the mapping or the ledger.
//!
//! Lenient where nothing is lost: any namespace URI that names the message, any prefix, `BIC` or `BICFI`, a plain
//! date or the choice of date and time in every version, optional groups missing. What is wrong with one payment is
//! an issue of that payment; what would make identities or sums doubtful refuses the file.

mod batch;

use crate::model::{Agent, Declared, Initiation, Issue, NamedAccount, Pain001Version, Party, Reason, Source};
use crate::money::Decimal;
use crate::progress::{Progress, Stage};
use crate::xml::{Cursor, Tag};
use crate::{AccountRef, Located, PaymentsError, ident, text};

/// Reads a whole file. Nothing is booked before all of it is read, since its control sums come first.
///
/// # Errors
/// Encoding, well-formedness, another message or version, no `MsgId`, elements that occur twice.
pub fn read_pain001(bytes: &[u8], progress: &mut dyn FnMut(Progress)) -> Result<Initiation, PaymentsError> {
    let text = text::decode_xml(bytes)?;
    let total = text.len() as u64;
    let mut cursor = Cursor::new(&text);
    let mut found = None;
    cursor.children(|cur, tag| {
        if found.is_some() {
            return Err(cur.malformed("a second root element"));
        }
        if tag.name() == "Document" {
            found = Some(document(cur, tag, total, progress)?);
            return Ok(());
        }
        // An envelope (business application header and document side by side) is looked into, one level deep.
        cur.children(|cur, tag| {
            if tag.name() != "Document" {
                return cur.skip_without(is_initiation, "a Document too deep in its envelope to be read");
            }
            if found.is_some() {
                return Err(
                    cur.malformed("a second Document; a file holds one, so each needs a file of its own")
                );
            }
            found = Some(document(cur, tag, total, progress)?);
            Ok(())
        })?;
        if found.is_none() {
            let root = tag.name().to_owned();
            let line = cur.line();
            return Err(unknown(
                line,
                format!("root element {root:?} is not a pain.001 Document"),
            ));
        }
        Ok(())
    })?;
    let end = cursor.line();
    found.ok_or_else(|| unknown(end, "there is no Document element".to_owned()))
}

/// Whether payments would be lost if the element were passed over.
fn is_initiation(cur: &Cursor<'_>, tag: &Tag<'_>) -> bool {
    tag.name() == "Document" && cur.namespace_of(tag).is_some_and(|uri| uri.contains("pain.001"))
}

fn unknown(line: u64, text: String) -> PaymentsError {
    PaymentsError::UnknownMessage(Located::new(line, "", text))
}

fn document<'a>(
    cur: &mut Cursor<'a>,
    tag: &Tag<'a>,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Initiation, PaymentsError> {
    let namespace = cur.namespace_of(tag);
    let hint = tag
        .attribute("schemaLocation")
        .or_else(|| tag.attribute("noNamespaceSchemaLocation"));
    let named = namespace
        .clone()
        .filter(|uri| uri.contains("pain."))
        .or(hint)
        .or(namespace.clone());
    let line = cur.line();
    let version = version_of(named.as_deref()).map_err(|text| unknown(line, text))?;
    cur.keep_to(namespace);
    let mut file = None;
    cur.children(|cur, tag| match tag.name() {
        "CstmrCdtTrfInitn" if file.is_none() => {
            file = Some(initiation(cur, version, total, progress)?);
            Ok(())
        }
        other => {
            let text = format!("{other:?} where one CstmrCdtTrfInitn is expected");
            Err(unknown(cur.line(), text))
        }
    })?;
    cur.keep_to(None);
    let line = cur.line();
    file.ok_or_else(|| unknown(line, "Document holds no CstmrCdtTrfInitn".to_owned()))
}

/// `…pain.001.001.NN` anywhere in the URI: some banks put their own scheme around the name.
fn version_of(uri: Option<&str>) -> Result<Pain001Version, String> {
    let Some(uri) = uri else {
        return Err("Document has no namespace, so its message and version are unknown".to_owned());
    };
    let Some((_, after)) = uri.split_once("pain.001.001.") else {
        return Err(format!("namespace {uri:?} is not pain.001.001.03 to .13"));
    };
    let digits: String = after.chars().take_while(char::is_ascii_digit).take(4).collect();
    digits
        .parse()
        .ok()
        .filter(|_| digits.len() == 2)
        .and_then(Pain001Version::new)
        .ok_or_else(|| format!("version pain.001.001.{digits} is not read; 03 to 13 are"))
}

/// What a group or a batch says that it holds, as given, and where.
#[derive(Default)]
struct Claims {
    count: Option<String>,
    count_line: u64,
    sum: Option<String>,
    sum_line: u64,
}

impl Claims {
    fn count(&mut self, cur: &mut Cursor<'_>) -> Result<(), PaymentsError> {
        self.count_line = cur.line();
        cur.text_into(&mut self.count)
    }

    fn sum(&mut self, cur: &mut Cursor<'_>) -> Result<(), PaymentsError> {
        self.sum_line = cur.line();
        cur.text_into(&mut self.sum)
    }
}

#[derive(Default)]
struct Header {
    message_id: Option<String>,
    created: Option<String>,
    initiator: Party,
    issues: Vec<Issue>,
    declared: Declared,
}

fn initiation(
    cur: &mut Cursor<'_>,
    version: Pain001Version,
    total: u64,
    progress: &mut dyn FnMut(Progress),
) -> Result<Initiation, PaymentsError> {
    let mut header: Option<Header> = None;
    let mut batches = Vec::new();
    cur.children(|cur, tag| {
        match tag.name() {
            "GrpHdr" if header.is_some() => return Err(cur.content("occurs twice")),
            "GrpHdr" => header = Some(group_header(cur)?),
            "PmtInf" => {
                let number = batches.len() + 1;
                cur.number(number);
                batches.push(batch::batch(cur, number, &mut |at| {
                    progress(Progress {
                        stage: Stage::Reading,
                        done: at,
                        total,
                    });
                })?);
            }
            _ => {}
        }
        Ok(())
    })?;
    let Some(header) = header else {
        return Err(cur.content("GrpHdr is missing"));
    };
    let Some(message_id) = header.message_id else {
        return Err(cur.content("GrpHdr/MsgId is missing: payments cannot be told apart without it"));
    };
    if batches.is_empty() {
        return Err(cur.content("PmtInf is missing: there is nothing to pay"));
    }
    Ok(Initiation {
        source: Source::Pain001(version),
        message_id,
        created: header.created,
        initiator: header.initiator,
        declared: header.declared,
        batches,
        issues: header.issues,
    })
}

fn group_header(cur: &mut Cursor<'_>) -> Result<Header, PaymentsError> {
    let mut header = Header::default();
    let mut claims = Claims::default();
    let once = ["MsgId", "CreDtTm", "NbOfTxs", "CtrlSum", "InitgPty"];
    cur.children_once(&once, |cur, tag| match tag.name() {
        "MsgId" => id_into(cur, &mut header.message_id),
        "CreDtTm" => cur.text_into(&mut header.created),
        "NbOfTxs" => claims.count(cur),
        "CtrlSum" => claims.sum(cur),
        "InitgPty" => {
            header.initiator = party(cur)?;
            Ok(())
        }
        _ => Ok(()),
    })?;
    header.declared = declared(cur, "GrpHdr", claims, &mut header.issues);
    Ok(header)
}

/// A claim that cannot be read cannot be checked, so it bars what it is about.
fn declared(cur: &Cursor<'_>, element: &str, claims: Claims, issues: &mut Vec<Issue>) -> Declared {
    let mut declared = Declared::default();
    let mut refuse = |line, name: &str, reason, text| {
        issues.push(Issue {
            line,
            path: format!("{}/{element}/{name}", cur.path()),
            reason,
            text,
        });
    };
    if let Some(count) = claims.count {
        declared.count_line = claims.count_line;
        declared.count = count.parse().ok();
        if declared.count.is_none() {
            let text = format!("{count:?} is no count");
            refuse(claims.count_line, "NbOfTxs", Reason::PaymentCount, text);
        }
    }
    if let Some(sum) = claims.sum {
        declared.sum_line = claims.sum_line;
        match Decimal::parse(&sum) {
            Ok(sum) => declared.sum = Some(sum),
            Err(error) => {
                let text = format!("{sum:?} {error}");
                refuse(claims.sum_line, "CtrlSum", Reason::ControlSum, text);
            }
        }
    }
    declared
}

fn issue(cur: &mut Cursor<'_>, element: &str, reason: Reason, text: String) -> Issue {
    let line = cur.line();
    let path = if element.is_empty() {
        cur.path().to_owned()
    } else {
        format!("{}/{element}", cur.path())
    };
    Issue {
        line,
        path,
        reason,
        text,
    }
}

/// Identifications enter the ids of transfers and the status report: at most 35 characters.
fn id_into(cur: &mut Cursor<'_>, place: &mut Option<String>) -> Result<(), PaymentsError> {
    let path = cur.path().to_owned();
    cur.text_into(place)?;
    if place.as_ref().is_some_and(|id| id.chars().count() > 35) {
        let line = cur.line();
        return Err(PaymentsError::Content(Located::new(
            line,
            path,
            "is longer than 35 characters",
        )));
    }
    Ok(())
}

fn party(cur: &mut Cursor<'_>) -> Result<Party, PaymentsError> {
    let mut party = Party::default();
    cur.children_once(&["Nm", "Id"], |cur, tag| match tag.name() {
        "Nm" => cur.text_into(&mut party.name),
        // Id/OrgId|PrvtId/{AnyBIC, BICOrBEI, LEI, Othr/Id}: the first is enough to tell parties apart.
        "Id" => cur.children_once(&["OrgId", "PrvtId"], |cur, _| {
            cur.children_once(&["AnyBIC", "BICOrBEI", "LEI"], |cur, tag| match tag.name() {
                "AnyBIC" | "BICOrBEI" | "LEI" => first_text(cur, &mut party.id),
                "Othr" => cur.children_once(&["Id"], |cur, tag| match tag.name() {
                    "Id" => first_text(cur, &mut party.id),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            })
        }),
        _ => Ok(()),
    })?;
    Ok(party)
}

fn first_text(cur: &mut Cursor<'_>, place: &mut Option<String>) -> Result<(), PaymentsError> {
    let text = cur.text()?;
    if place.is_none() && !text.is_empty() {
        *place = Some(text);
    }
    Ok(())
}

/// `BIC` up to version 03, `BICFI` after; both are read in all.
fn agent(cur: &mut Cursor<'_>, reason: Reason, issues: &mut Vec<Issue>) -> Result<Agent, PaymentsError> {
    let mut agent = Agent::default();
    let mut bic = None;
    cur.children_once(&["FinInstnId"], |cur, tag| match tag.name() {
        "FinInstnId" => cur.children_once(&["BIC", "BICFI", "ClrSysMmbId"], |cur, tag| match tag.name() {
            "BIC" | "BICFI" => {
                let at = cur.path().to_owned();
                cur.text_into(&mut bic)?;
                if let Some(text) = &bic {
                    match ident::parse_bic(text) {
                        Ok(bic) => agent.bic = Some(bic),
                        Err(error) => {
                            let line = cur.line();
                            issues.push(Issue {
                                line,
                                path: at,
                                reason,
                                text: format!("{text:?} {error}"),
                            });
                        }
                    }
                }
                Ok(())
            }
            "ClrSysMmbId" => cur.children_once(&["MmbId"], |cur, tag| match tag.name() {
                "MmbId" => cur.text_into(&mut agent.member_id),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok(agent)
}

fn account(
    cur: &mut Cursor<'_>,
    reason: Reason,
    issues: &mut Vec<Issue>,
) -> Result<NamedAccount, PaymentsError> {
    let mut named = NamedAccount::default();
    let (mut iban, mut other, mut scheme) = (None, None, None);
    let start = cur.path().to_owned();
    cur.children_once(&["Id", "Ccy"], |cur, tag| match tag.name() {
        "Id" => cur.children_once(&["IBAN", "Othr"], |cur, tag| match tag.name() {
            "IBAN" => cur.text_into(&mut iban),
            "Othr" => cur.children_once(&["Id", "SchmeNm"], |cur, tag| match tag.name() {
                "Id" => cur.text_into(&mut other),
                "SchmeNm" => cur.children(|cur, _| cur.text_into(&mut scheme)),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        "Ccy" => cur.text_into(&mut named.currency),
        _ => Ok(()),
    })?;
    let parsed = match (&iban, &other) {
        (Some(_), Some(_)) => return Err(cur.content("both IBAN and Othr are given")),
        (Some(iban), None) => ident::parse_iban(iban)
            .map(AccountRef::Iban)
            .map_err(|error| (iban, error)),
        (None, Some(other)) => {
            AccountRef::other(scheme.as_deref().unwrap_or(""), other).map_err(|error| (other, error))
        }
        (None, None) => return Ok(named),
    };
    match parsed {
        Ok(account) => named.account = Some(account),
        Err((given, error)) => {
            let line = cur.line();
            let path = format!("{start}/Id");
            issues.push(Issue {
                line,
                path,
                reason,
                text: format!("account {given:?} {error}"),
            });
        }
    }
    Ok(named)
}
