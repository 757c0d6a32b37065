//! Rows that a credential led to, judged: is this still somebody?

use countersign_core::identity::{Account, AccountKind, Person, Session, Token};
use countersign_core::ids::AccountId;
use countersign_core::names::{AccountName, Factor};
use countersign_core::principal::{Principal, PrincipalParts, Via};
use countersign_core::time::Micros;

/// A session ends after this long without use, whatever its expiry says.
const IDLE_LIMIT: std::time::Duration = std::time::Duration::from_hours(1);

/// Why a credential opens nothing. The caller is told one text for all of them; this is for the ledger and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the session or token has expired")]
    Expired,
    #[error("the token was revoked")]
    Revoked,
    #[error("the account or its person is disabled")]
    Disabled,
    #[error("the rows do not belong together")]
    Mismatch,
    #[error("this account can't log in itself")]
    NotAPerson,
}

/// The password of this account was just verified.
pub fn by_password(
    account: &Account,
    person: Option<&Person>,
    source: &str,
    now: Micros,
) -> Result<Principal, Refused> {
    if account.kind != AccountKind::Person {
        return Err(Refused::NotAPerson);
    }
    attest(account, person, Via::Password, Some((Factor::Password, now)), source)
}

/// The bearer value whose hash this session has was presented.
pub fn by_session(
    session: &Session,
    account: &Account,
    person: Option<&Person>,
    source: &str,
    now: Micros,
) -> Result<Principal, Refused> {
    if session.account != account.id {
        return Err(Refused::Mismatch);
    }
    if session.expires_at <= now || session.last_used_at.plus(IDLE_LIMIT) <= now {
        return Err(Refused::Expired);
    }
    attest(account, person, Via::Session(session.id), Some((session.fresh_factor, session.fresh_at)), source)
}

/// The bearer value whose hash this token has was presented.
pub fn by_token(
    token: &Token,
    account: &Account,
    person: Option<&Person>,
    source: &str,
    now: Micros,
) -> Result<Principal, Refused> {
    if token.owner != account.id {
        return Err(Refused::Mismatch);
    }
    if token.revoked_at.is_some() {
        return Err(Refused::Revoked);
    }
    if token.expires_at <= now {
        return Err(Refused::Expired);
    }
    let via = Via::Token { id: token.id, scopes: token.scopes.clone() };
    attest(account, person, via, None, source)
}

/// The server itself, which proposes but never answers.
pub fn server(id: AccountId, name: AccountName) -> Principal {
    Principal::attested(PrincipalParts {
        account: id,
        name,
        kind: AccountKind::Service,
        person: None,
        via: Via::Server,
        fresh: None,
        source: "server".to_owned(),
    })
}

fn attest(
    account: &Account,
    person: Option<&Person>,
    via: Via,
    fresh: Option<(Factor, Micros)>,
    source: &str,
) -> Result<Principal, Refused> {
    // The person row must be the account's own: a join gone wrong must not lend somebody another's slot.
    if account.person != person.map(|person| person.id) {
        return Err(Refused::Mismatch);
    }
    if !account.active || person.is_some_and(|person| !person.active) {
        return Err(Refused::Disabled);
    }
    Ok(Principal::attested(PrincipalParts {
        account: account.id,
        name: account.name.clone(),
        kind: account.kind,
        person: person.map(Person::reference),
        via,
        fresh,
        source: source.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_core::digest::Digest;
    use countersign_core::ids::{PersonId, SessionId, TokenId};

    const NOW: Micros = Micros::from_secs(1_000_000);

    fn person() -> Person {
        Person { id: PersonId::new(NOW, [1; 10]), name: "alice".into(), active: true, created_at: NOW, version: 1 }
    }

    fn account(person: Option<PersonId>) -> Account {
        Account {
            id: AccountId::new(NOW, [2; 10]),
            name: "alice".parse().unwrap(),
            kind: AccountKind::Person,
            person,
            active: true,
            password: None,
            created_at: NOW,
            version: 1,
        }
    }

    fn session(account: AccountId) -> Session {
        Session {
            id: SessionId::new(NOW, [3; 10]),
            hash: Digest::sha256(b"s"),
            account,
            created_at: NOW,
            last_used_at: NOW,
            expires_at: NOW.plus(std::time::Duration::from_hours(12)),
            fresh_at: NOW,
            fresh_factor: Factor::Password,
            source: "127.0.0.1".into(),
        }
    }

    #[test]
    fn a_disabled_person_is_nobody_through_any_account() {
        let mut person = person();
        let account = account(Some(person.id));
        assert!(by_session(&session(account.id), &account, Some(&person), "s", NOW).is_ok());
        person.active = false;
        assert_eq!(by_session(&session(account.id), &account, Some(&person), "s", NOW), Err(Refused::Disabled));
        assert_eq!(by_password(&account, Some(&person), "s", NOW), Err(Refused::Disabled));
    }

    #[test]
    fn an_idle_hour_ends_a_session_before_its_expiry() {
        let person = person();
        let account = account(Some(person.id));
        let later = NOW.plus(std::time::Duration::from_hours(1));
        assert_eq!(by_session(&session(account.id), &account, Some(&person), "s", later), Err(Refused::Expired));
    }

    #[test]
    fn another_accounts_session_and_another_persons_row_are_refused() {
        let person = person();
        let account = account(Some(person.id));
        let foreign = session(AccountId::new(NOW, [9; 10]));
        assert_eq!(by_session(&foreign, &account, Some(&person), "s", NOW), Err(Refused::Mismatch));
        assert_eq!(by_session(&session(account.id), &account, None, "s", NOW), Err(Refused::Mismatch));
    }

    #[test]
    fn a_token_never_answers_and_dies_with_revocation() {
        let person = person();
        let account = account(Some(person.id));
        let mut token = Token {
            id: TokenId::new(NOW, [4; 10]),
            hash: Digest::sha256(b"t"),
            name: "ci".into(),
            owner: account.id,
            scopes: vec!["command.*".into()],
            created_at: NOW,
            expires_at: NOW.plus(std::time::Duration::from_mins(1)),
            revoked_at: None,
        };
        let principal = by_token(&token, &account, Some(&person), "s", NOW).unwrap();
        assert!(
            principal.answers_in_person().is_none() && principal.covers("command.run") && !principal.covers("admin.x")
        );
        token.revoked_at = Some(NOW);
        assert_eq!(by_token(&token, &account, Some(&person), "s", NOW), Err(Refused::Revoked));
    }

    #[test]
    fn a_service_account_has_no_password_login() {
        let account = Account { kind: AccountKind::Service, ..account(None) };
        assert_eq!(by_password(&account, None, "s", NOW), Err(Refused::NotAPerson));
    }
}
