//! Layer 0: the values that all other layers use. Nothing here does I/O, reads a clock or spawns.

mod address;
mod advice_level;
mod alert;
mod allowance;
mod bucket;
mod change_event;
mod delays;
mod device;
mod device_type;
mod diagnosis;
mod difference;
mod duration;
mod host_address;
mod identification;
mod idn;
mod local_name;
mod mac;
mod moment;
mod name;
pub mod phantoms;
mod port_states;
mod ports;
mod probe_method;
mod report;
mod scan;
mod snapshot;
mod state;
mod state_age;
mod tag;
mod target;
mod text;
mod timing;
pub mod unconfirmed;

pub use address::{Address, AddressError};
pub use advice_level::AdviceLevel;
pub use alert::{AlertKind, AlertSeverity};
pub use allowance::Allowance;
pub use bucket::Bucket;
pub use change_event::{ChangeEvent, ChangeFilter, ChangeKind, IdentityPart, PortFindingKind};
pub use delays::Delays;
pub use device::{Device, DeviceKey, DeviceKeyError, Endpoint};
pub use device_type::DeviceType;
pub use diagnosis::{Diagnosis, DiagnosisState};
pub use difference::{
    Deviation, DeviceAtAddress, Difference, Disagreement, Expectation, Expected, KnownState,
    PortStatesByProtocol, device_differences, disagreements,
};
pub use duration::{DurationError, parse_duration};
pub use host_address::HostAddressError;
pub use identification::{
    Certificate, DeviceIdentification, EVIDENCE_MAX, Evidence, IdentifyLevel, IdentifyMethod,
    PortIdentification,
};
pub use idn::ascii_name;
pub use local_name::is_local_name;
pub use mac::{Mac, MacError};
pub use moment::Moment;
pub use name::{Name, NameSource, NameSourceError};
pub use port_states::{PortRange, PortStates};
pub use ports::{PortSet, PortSetError};
pub use probe_method::{ProbeMethod, ProbeMethodError};
pub use report::{HostReport, HostStatus, PortFinding, ScanStatus};
pub use scan::{ScanId, ScanKind};
pub use snapshot::{
    ChannelFacts, FeedFacts, HostFacts, ImportFacts, LimitFacts, MemoryFacts, PortFact, ProbeFacts,
    ScannerFacts, SiteFacts, Snapshot, StoreFacts, TableFacts,
};
pub use state::{PortState, Protocol, Reason, StateError};
pub use state_age::StateAge;
pub use tag::{TAGS_MAX, TagError, all_tags, parse_tag};
pub use target::{TargetError, TargetSpec, canonical_net};
pub use text::{
    bytes_without_mark, escape_markup, is_unseen, one_line, replace_unseen, strip_prefix_ignoring_case,
    without_mark, without_secrets,
};
pub use timing::{Timing, TimingError};
