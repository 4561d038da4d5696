//! The dialogue with one port, and the identification that follows from it.

use jiff::Timestamp;

use super::manner::Manner;
use crate::{
    identify,
    model::{Address, EVIDENCE_MAX, Evidence, IdentifyMethod, PortIdentification, one_line},
    net::dialogue::{self, NoConnection},
};

/// Connects to a port and identifies it in this manner. Returns the findings of each method. The manner's own method
/// always has one, even if the service said nothing, which records that the port was asked.
///
/// # Errors
/// There is no connection.
pub async fn identify_port(
    address: &Address,
    port: u16,
    manner: Manner,
    time: Timestamp,
) -> Result<Vec<PortIdentification>, NoConnection> {
    let greeting = |received: &[u8]| {
        identify::from_greeting(port, received, time)
            .unwrap_or_else(|| unrecognised(IdentifyMethod::Greeting, received, time))
    };
    Ok(match manner {
        Manner::Listen => vec![greeting(&dialogue::greeting(address, port).await?)],
        Manner::SshKey => {
            let server = dialogue::ssh_key(address, port).await?;
            let key = match server.host_key {
                Some(key) => identify::from_ssh_key(&key, time),
                None => unrecognised(IdentifyMethod::SshKey, &[], time),
            };
            vec![greeting(&server.greeting), key]
        }
        Manner::Page => {
            let response = dialogue::page(address, port).await?;
            let found = identify::from_http(&response, false, time);
            vec![found.unwrap_or_else(|| unrecognised(IdentifyMethod::Http, &response, time))]
        }
        Manner::SecurePage => {
            let server = dialogue::secure_page(address, port).await?;
            let certificate = server.certificate.and_then(|der| identify::from_certificate(&der, time));
            let mut found = vec![certificate.unwrap_or_else(|| unrecognised(IdentifyMethod::Tls, &[], time))];
            found.extend(identify::from_http(&server.response, true, time));
            found
        }
    })
}

/// Returns the identification of an unrecognised service: only its evidence.
fn unrecognised(method: IdentifyMethod, received: &[u8], time: Timestamp) -> PortIdentification {
    let text = one_line(&String::from_utf8_lossy(received), EVIDENCE_MAX);
    PortIdentification::unnamed(Evidence { method, text, time })
}
