//! Who somebody is: logins, sessions, second factors, tokens; and how that changes.

mod administer;
mod apply;
mod authenticate;
mod change;
mod directory;
mod enroll;
mod failed;
mod login;
mod prove;
mod tokens;

pub use change::Change;
pub use directory::{GroupView, PersonView, Whoami};
pub use enroll::Enrolment;
pub(crate) use failed::FailedLogins;
pub use login::Login;
pub use tokens::NewToken;
