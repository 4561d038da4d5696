//! `portscan token`: prints the token that authorises changes.

use super::{CliError, DONE, Terminal};
use crate::{
    config::{Config, Overrides},
    http::Token,
};

/// Prints the token of the appliance on this machine; generates it if the appliance has never been started.
pub(super) fn token(overrides: &Overrides, terminal: &mut Terminal<'_>) -> Result<u8, CliError> {
    let config = Config::read(overrides)?;
    let token = Token::load(&config.data_dir, config.auth_token_file.as_deref())?;
    writeln!(terminal.out, "{}", token.reveal())?;
    Ok(DONE)
}
