//! `portscan import-expected URL`: imports the expected state of a portmantool or of another appliance.

use std::{sync::Arc, time::Duration};

use clap::Args;

use super::{
    CliError, CommandEnv, DONE, Terminal,
    appliance::{Appliance, ApplianceArgs, DatabaseUse},
    expected::{self, rows},
    found::sanitize_for_terminal,
};
use crate::{
    client::{HttpClient, ResponseLimits},
    config::Overrides,
};

/// Where what is expected is read.
const PATH: &str = "/v1/expected";

/// The time limit of the request: an old portmantool may have to query a large database.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest accepted answer, in bytes: half a million ports.
const ANSWER_MAX: usize = 64 << 20;

/// From where.
#[derive(Args, Debug, Clone, PartialEq)]
#[command(after_help = "What is expected here of other ports stays. The same again changes nothing.")]
pub struct ImportExpectedArgs {
    /// Where it is; the path to /v1/expected may be left out
    #[arg(value_name = "http://HOST[:PORT]")]
    pub from: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub access: ApplianceArgs,
}

/// Reads the expected state there, writes it here, and prints its size.
pub(super) async fn import_expected(
    args: &ImportExpectedArgs,
    overrides: &Overrides,
    world: &CommandEnv,
    terminal: &mut Terminal<'_>,
) -> Result<u8, CliError> {
    let url = whole(&args.from);
    let limits = ResponseLimits { timeout: PATIENCE, max_bytes: ANSWER_MAX };
    // Fetched first, so that nothing is opened here if the source is unavailable.
    let answer = HttpClient::new(Arc::clone(&world.resolver)).get(&url, limits).await;
    let rows =
        rows(&answer.map_err(|error| CliError::Elsewhere { url: sanitize_for_terminal(&url), error })?)?;
    if rows.is_empty() {
        // An empty expected state would make every open port a difference.
        terminal.warn("nothing is expected there: nothing was taken over");
        return Ok(DONE);
    }
    let appliance = Appliance::find(&args.access, overrides, world, DatabaseUse::Writing)?;
    let written = expected::write(&appliance, &rows).await;
    appliance.close().await?;
    written?;
    writeln!(terminal.out, "took over {}", expected::summary(&rows))?;
    terminal.out.flush()?;
    Ok(DONE)
}

/// Completes the URL of the expected state, given that URL, its site's or any part in between.
fn whole(from: &str) -> String {
    let from = from.trim_end_matches('/');
    let base = from.strip_suffix(PATH).or_else(|| from.strip_suffix("/v1")).unwrap_or(from);
    format!("{base}{PATH}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_url_may_be_left_out() {
        for from in ["http://a", "http://a/", "http://a/v1", "http://a/v1/expected", "http://a/v1/expected/"]
        {
            assert_eq!(whole(from), "http://a/v1/expected");
        }
        assert_eq!(whole("https://a:8443/portmantool/"), "https://a:8443/portmantool/v1/expected");
    }
}
