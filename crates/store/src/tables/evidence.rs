//! `evidence`: one person, one answer to a request.

use countersign_core::evidence::RecordedEvidence;
use countersign_core::identity::PersonRef;
use countersign_core::ids::RequestId;

use super::{load, statements};
use crate::error::{Expectation, Failure, StoreError};
use crate::reader::Tx;
use crate::sql::{Row, params};

statements! {
    INSERT = "INSERT INTO evidence \
        (request, person, person_name, factor, authenticator, step, at, digest, relayed_by, relayed_by_name) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
    OF_REQUEST = "SELECT person, person_name, factor, authenticator, step, at, digest, relayed_by, relayed_by_name \
        FROM evidence WHERE request = $1 ORDER BY at, person";
}

/// The answers that counted, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceOf(pub RequestId);

load!(EvidenceOf => Vec<RecordedEvidence>, |Self(request), reader| reader.all(OF_REQUEST, params![request], read).await);

pub(crate) async fn insert(tx: &mut Tx<'_>, request: RequestId, evidence: &RecordedEvidence) -> Result<(), Failure> {
    let RecordedEvidence { person, factor, authenticator, step, at, digest, relayed_by } = evidence;
    let row = params![
        request,
        person.id,
        &person.name,
        factor.as_str(),
        authenticator,
        *step,
        *at,
        digest,
        relayed_by.as_ref().map(|relay| relay.id),
        relayed_by.as_ref().map(|relay| &relay.name)
    ];
    tx.one(INSERT, row, || Expectation::AlreadyAnswered { request, person: person.id }).await
}

fn read(row: Row) -> Result<RecordedEvidence, StoreError> {
    let mut columns = row.columns("evidence");
    Ok(RecordedEvidence {
        person: PersonRef { id: columns.parsed()?, name: columns.text()? },
        factor: columns.parsed()?,
        authenticator: columns.parsed()?,
        step: columns.int()?,
        at: columns.micros()?,
        digest: columns.digest()?,
        relayed_by: match (columns.opt_parsed()?, columns.opt_text()?) {
            (Some(id), Some(name)) => Some(PersonRef { id, name }),
            (None, None) => None,
            _ => return Err(columns.corrupt("a person with a name")),
        },
    })
}
