//! `deny`, `cancel`, `revoke`: how a request or its grant ends by somebody's will.

use countersign_core::decide::{self, CloseError, Ctx, Step};
use countersign_core::identity::PersonRef;
use countersign_core::ids::RequestId;
use countersign_core::people::People;
use countersign_core::principal::Principal;
use countersign_core::request::Request;
use countersign_store::RequestWithPeople;

use super::View;
use super::answer::answering;
use super::view::visible;
use crate::commit::decide_again;
use crate::{Engine, EngineError};

/// One way to end something, as a value.
#[derive(Clone, Copy, Debug)]
enum Ending<'a> {
    Deny { by: &'a PersonRef, why: Option<&'a str> },
    Cancel { by: &'a Principal },
    Revoke { by: &'a PersonRef },
}

impl Engine {
    /// Says no. Takes no factor, and is final.
    pub async fn deny(
        &self,
        principal: &Principal,
        request: RequestId,
        why: Option<&str>,
    ) -> Result<View, EngineError> {
        self.end(principal, request, Ending::Deny { by: answering(principal)?, why }).await
    }

    /// The requester takes it back.
    pub async fn cancel(&self, principal: &Principal, request: RequestId) -> Result<View, EngineError> {
        self.end(principal, request, Ending::Cancel { by: principal }).await
    }

    /// Takes a grant back.
    pub async fn revoke(&self, principal: &Principal, request: RequestId) -> Result<View, EngineError> {
        self.end(principal, request, Ending::Revoke { by: answering(principal)? }).await
    }

    async fn end(&self, principal: &Principal, request: RequestId, ending: Ending<'_>) -> Result<View, EngineError> {
        decide_again!(self, self.try_end(principal, request, ending))?;
        self.show_done(principal, request).await
    }

    async fn try_end(&self, principal: &Principal, id: RequestId, ending: Ending<'_>) -> Result<(), EngineError> {
        let also = principal.person.iter().map(|person| person.id).collect();
        let rows = self.inner.store.load(RequestWithPeople { request: id, also, members: false }).await?;
        let rows = rows.ok_or(EngineError::NotFound("request"))?;
        if !visible(principal, &rows.request, &rows.people) {
            return Err(EngineError::NotFound("request"));
        }
        let (people, _) = self.judge(&rows.people);
        let step = ending.apply(rows.request, &people, &mut self.ctx()?)?;
        self.commit(step.finish().1).await
    }
}

impl Ending<'_> {
    fn apply(self, request: Request, people: &People, ctx: &mut Ctx) -> Result<Step, CloseError> {
        match self {
            Self::Deny { by, why } => decide::deny(request, by, why.map(str::to_owned), people, ctx),
            Self::Cancel { by } => decide::cancel(request, by, ctx),
            Self::Revoke { by } => decide::revoke(request, by, people, ctx),
        }
    }
}
