//! Who somebody is and what proves it. The only room that makes a [`Principal`](countersign_core::principal::Principal) or a piece of
//! [`Evidence`](countersign_core::evidence::Evidence): what is verified here is believed everywhere else.

mod password;
mod principal;
mod totp;

pub use password::{PasswordPool, PoolError};
pub use principal::{Refused, by_password, by_session, by_token, server};
pub use totp::{Claim, check_totp, match_totp};
