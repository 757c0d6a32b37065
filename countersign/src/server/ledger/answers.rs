//! The rows of `evidence`, held against the log. They keep a person from answering twice, and tell an auditor who answered with what.

use std::collections::BTreeMap;

use countersign_core::entry::EntryKind;
use countersign_core::evidence::RecordedEvidence;
use countersign_core::identity::PersonRef;
use countersign_core::ids::PersonId;
use countersign_core::request::Request;
use countersign_store::{EvidenceOf, PersonById};

use super::told::{Told, edited};
use super::{Finding, Rows};

/// The names that people bear, looked up once.
pub(super) type Names = BTreeMap<PersonId, Option<String>>;

/// Who answered: each answer has its entry, its place in the request's row, and its row of its own, in one and the same words.
pub(super) fn check(
    database: &Rows,
    request: &Request,
    entries: &[Told<'_>],
    names: &mut Names,
) -> Result<Result<(), String>, Finding> {
    let counted: Vec<&RecordedEvidence> = request.approvals().iter().map(|approval| &approval.evidence).collect();
    let logged = entries.iter().filter(|told| told.is(EntryKind::RequestAnswered));
    if !logged.clone().zip(&counted).all(|(told, evidence)| is_told(told, evidence)) || logged.count() != counted.len()
    {
        return Ok(Err(edited("the log holds other approvals")));
    }
    let mut kept = database.load(EvidenceOf(request.id))?;
    for evidence in &counted {
        let Some(at) = kept.iter().position(|row| row.person.id == evidence.person.id) else {
            return Ok(Err(format!("its evidence was edited: the answer of {} is missing", evidence.person)));
        };
        if kept.swap_remove(at) != **evidence {
            return Ok(Err(format!("its evidence was edited: {} answered otherwise", evidence.person)));
        }
    }
    if let Some(extra) = kept.first() {
        return Ok(Err(format!("its evidence was edited: {} never answered", extra.person)));
    }
    // The log knows people by name, the rows that decide know them by id.
    for evidence in counted {
        for person in [Some(&evidence.person), evidence.relayed_by.as_ref()].into_iter().flatten() {
            if !bears(database, person, names)? {
                return Ok(Err(edited(&format!("{person} is the name of somebody else"))));
            }
        }
    }
    Ok(Ok(()))
}

fn is_told(told: &Told<'_>, evidence: &RecordedEvidence) -> bool {
    told.agrees("person", &evidence.person.name)
        && told.agrees("factor", &evidence.factor)
        && told.agrees("relayed_by", &evidence.relayed_by.as_ref().map(|relay| &relay.name))
        && told.clear("digest") == Some(evidence.digest.to_string().as_str())
}

fn bears(database: &Rows, person: &PersonRef, names: &mut Names) -> Result<bool, Finding> {
    let name = if let Some(name) = names.get(&person.id) {
        name
    } else {
        let name = database.load(PersonById(person.id))?.map(|row| row.name);
        names.entry(person.id).or_insert(name)
    };
    Ok(name.as_ref() == Some(&person.name))
}
