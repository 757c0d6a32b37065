//! Who somebody is: logins, sessions, second factors, tokens; and how that changes.

mod administer;
mod apply;
mod authenticate;
mod change;
mod directory;
mod enroll;
mod erase;
mod failed;
mod live;
mod login;
mod prove;
mod tokens;

pub(crate) use authenticate::LOOKUPS;
pub use change::Change;
pub use directory::{MembershipView, PersonView, Whoami};
pub use enroll::Enrolment;
pub(crate) use failed::FailedLogins;
pub(crate) use live::{LiveCredentials, Subject};
pub use login::Login;
pub use tokens::NewToken;
