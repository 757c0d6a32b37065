//! Why policy says what it says, as the wire has it.

use countersign_engine::Explained;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// `allow`, `deny` or `require`.
    verdict: &'static str,
    /// In one line.
    why: String,
    /// What has to be met, in words; empty when nothing has to be.
    needs: String,
    /// How long people have to answer, in words.
    deadline: Option<String>,
    /// Whether codes that the requester carries count.
    relayed: bool,
    /// The digest of the policy.
    policy: String,
    /// Every rule in the order of the file.
    path: Vec<Step>,
    /// Who could fill which place now.
    slots: Vec<Places>,
    /// What keeps it from being granted as things stand.
    missing: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Step {
    rule: String,
    /// 0 for a rule that is built in.
    line: u32,
    matched: bool,
    /// What it contributed, or the first condition that did not hold.
    why: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Places {
    /// For example `2 of local:security`.
    needs: String,
    group: String,
    people: Vec<String>,
}

impl From<Explained> for Explanation {
    fn from(explained: Explained) -> Self {
        let explained = explained.explanation;
        let needs = explained.needs.iter().map(|need| need.words.as_str()).collect::<Vec<_>>().join(", ");
        let slots = explained.needs.into_iter().filter_map(|need| {
            let (group, people) = need.group.zip(need.who)?;
            Some(Places { needs: need.words, group: group.to_string(), people })
        });
        Self {
            verdict: explained.verdict,
            why: explained.sentence,
            needs,
            deadline: explained.deadline,
            relayed: explained.relayed,
            policy: explained.policy.to_string(),
            slots: slots.collect(),
            path: explained
                .path
                .into_iter()
                .map(|step| Step { rule: step.rule, line: step.line, matched: step.matched, why: step.why })
                .collect(),
            missing: explained.missing,
        }
    }
}
