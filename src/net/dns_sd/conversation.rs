//! Decides what to ask a neighbour next about its services, and what to believe of its answers. Pure.
//!
//! First the types (RFC 6763, 9), then the instances of each, with which most responders send the rest (12.1), then
//! what they left out: host and port, text, address. A device that does not list its types is asked for the most
//! telling ones in one message.

use std::{collections::VecDeque, net::Ipv4Addr};

use super::{Announced, AnnouncedService, TxtPairs, types::TELLING};
use crate::{
    model::Protocol,
    net::dns_message::{DnsAnswer, DnsName, DnsQuestion, DnsRecord, RecordData, RecordKind},
};

/// The name with the list of all types (RFC 6763, 9).
const ALL_TYPES: &str = "_services._dns-sd._udp";

/// Apple's record of a device's model. It has neither host nor port.
const DEVICE_INFO: &str = "_device-info._tcp";

/// The types beside which Apple's devices have a [`DEVICE_INFO`] without listing it.
const BESIDE_DEVICE_INFO: [&str; 6] =
    ["_companion-link._tcp", "_airplay._tcp", "_smb._tcp", "_afpovertcp._tcp", "_rfb._tcp", "_ssh._tcp"];

/// The most types of one device that are asked for: a full Mac has ten, a NAS a dozen.
const MOST_TYPES: usize = 16;

/// The most instances of one type: print servers have one for each queue.
const MOST_INSTANCES: usize = 8;

/// The most records of one kind that are kept.
const MOST_KEPT: usize = 64;

/// The most messages, each of which is sent three times at most.
const MOST_QUESTIONS: usize = 32;

/// The next questions, which go in one message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) questions: Vec<DnsQuestion>,
}

/// A conversation with one neighbour.
#[derive(Debug)]
pub(super) struct Conversation {
    neighbour: Ipv4Addr,
    stage: Stage,
    /// What was asked last, for which an answer is awaited.
    current: Vec<DnsQuestion>,
    asked: Vec<DnsQuestion>,
    steps: usize,
    heard: Heard,
}

#[derive(Debug)]
enum Stage {
    Start,
    /// The list of types was asked for.
    Types,
    /// The types that are still to be asked for.
    Instances(VecDeque<DnsName>),
}

/// The records that were received, each once.
#[derive(Debug, Default)]
struct Heard {
    /// The types that the device lists.
    types: Vec<DnsName>,
    /// Instances, each after its type.
    instances: Vec<(DnsName, DnsName)>,
    services: Vec<(DnsName, (DnsName, u16))>,
    texts: Vec<(DnsName, TxtPairs)>,
    addresses: Vec<(DnsName, Ipv4Addr)>,
}

impl Conversation {
    pub(super) fn new(neighbour: Ipv4Addr) -> Self {
        let (current, asked) = (Vec::new(), Vec::new());
        Self { neighbour, stage: Stage::Start, current, asked, steps: 0, heard: Heard::default() }
    }

    /// Returns what to ask next, after the last questions were answered or were not.
    pub(super) fn next(&mut self) -> Option<Step> {
        self.steps += 1;
        if self.steps > MOST_QUESTIONS {
            return None;
        }
        self.current = self.questions();
        self.asked.extend_from_slice(&self.current);
        (!self.current.is_empty()).then(|| Step { questions: self.current.clone() })
    }

    /// Takes an answer. Returns whether it answers the last questions.
    pub(super) fn take(&mut self, answer: DnsAnswer) -> bool {
        let is_answer = answer.records.iter().any(|record| self.is_awaited(record));
        for record in answer.records {
            self.heard.keep(record);
        }
        is_answer
    }

    /// Returns what is believed: services at the neighbour's own address. An SRV record may name any host, and only one
    /// at the neighbour's address is the neighbour: what a proxy announces for others (RFC 8766) is not its own.
    pub(super) fn announced(self) -> Option<Announced> {
        let Self { neighbour, heard, .. } = self;
        let mut announced = Announced::default();
        for (service_type, instance) in &heard.instances {
            let Some(kind) = type_of(service_type) else { continue };
            let txt = || find(&heard.texts, instance).cloned().unwrap_or_default();
            if kind == DEVICE_INFO {
                if announced.device_info.is_empty() {
                    announced.device_info = txt();
                }
                continue;
            }
            let Some((host, port)) = find(&heard.services, instance).filter(|(_, port)| *port != 0) else {
                continue;
            };
            let is_its_own =
                heard.addresses.iter().any(|(name, address)| name == host && *address == neighbour);
            let protocol = if kind.ends_with("._tcp") { Protocol::Tcp } else { Protocol::Udp };
            let is_known =
                announced.services.iter().any(|known| known.service_type == kind && known.port == *port);
            if is_its_own && !is_known {
                announced.services.push(AnnouncedService {
                    service_type: kind,
                    protocol,
                    port: *port,
                    txt: txt(),
                });
            }
        }
        announced.services.sort_by_key(|service| rank(&service.service_type));
        (announced != Announced::default()).then_some(announced)
    }

    fn questions(&mut self) -> Vec<DnsQuestion> {
        loop {
            match &mut self.stage {
                Stage::Start => {
                    self.stage = Stage::Types;
                    return name_of_type(ALL_TYPES).map(instances_of).into_iter().collect();
                }
                Stage::Types => {
                    let listed = self.heard.listed();
                    let is_listed = !listed.is_empty();
                    self.stage = Stage::Instances(listed);
                    if !is_listed {
                        return TELLING.into_iter().filter_map(name_of_type).map(instances_of).collect();
                    }
                }
                Stage::Instances(types) => match types.pop_front() {
                    Some(next) if self.heard.instances.iter().any(|(known, _)| *known == next) => {}
                    Some(next) => return vec![instances_of(next)],
                    None => return self.missing(),
                },
            }
        }
    }

    /// Returns the questions about one instance for what its responder left out.
    fn missing(&self) -> Vec<DnsQuestion> {
        let heard = &self.heard;
        let is_new = |question: &DnsQuestion| !self.asked.contains(question);
        let ask = |name: &DnsName, kind| Some(DnsQuestion { name: name.clone(), kind }).filter(is_new);
        for (service_type, instance) in &heard.instances {
            let has_host = type_of(service_type).is_some_and(|kind| kind != DEVICE_INFO);
            let service = find(&heard.services, instance);
            let text = find(&heard.texts, instance);
            let mut questions = Vec::new();
            if service.is_none() && has_host {
                questions.extend(ask(instance, RecordKind::Srv));
            }
            if text.is_none() {
                questions.extend(ask(instance, RecordKind::Txt));
            }
            if let Some((host, _)) = service
                && find(&heard.addresses, host).is_none()
            {
                questions.extend(ask(host, RecordKind::A));
            }
            if !questions.is_empty() {
                return questions;
            }
        }
        self.hidden_device_info().and_then(|name| ask(&name, RecordKind::Txt)).into_iter().collect()
    }

    /// The name of the device's [`DEVICE_INFO`], which it need not list.
    fn hidden_device_info(&self) -> Option<DnsName> {
        let instances = &self.heard.instances;
        let is = |service_type: &DnsName, wanted: &[&str]| {
            type_of(service_type).is_some_and(|kind| wanted.contains(&kind.as_str()))
        };
        if instances.iter().any(|(service_type, _)| is(service_type, &[DEVICE_INFO])) {
            return None;
        }
        let (_, instance) = instances.iter().find(|(kind, _)| is(kind, &BESIDE_DEVICE_INFO))?;
        let label = instance.labels().next()?;
        DnsName::of([label].into_iter().chain(name_of_type(DEVICE_INFO)?.labels()))
    }

    fn is_awaited(&self, record: &DnsRecord) -> bool {
        self.current
            .iter()
            .any(|question| question.name == record.owner && question.kind == record.data.kind())
    }
}

impl Heard {
    /// Keeps a record if there is room, and no other one of its kind and name.
    fn keep(&mut self, DnsRecord { owner, data }: DnsRecord) {
        match data {
            RecordData::Ptr(name) if is_type(&owner, ALL_TYPES) => {
                if self.types.len() < MOST_KEPT && type_of(&name).is_some() && !self.types.contains(&name) {
                    self.types.push(name);
                }
            }
            RecordData::Ptr(instance) => {
                let siblings =
                    self.instances.iter().filter(|(service_type, _)| *service_type == owner).count();
                // RFC 6763, 4.1: the type after the instance's own label.
                let is_of_type =
                    type_of(&owner).is_some() && instance.labels().skip(1).eq_ignoring_case(&owner);
                let is_known = self.instances.iter().any(|(_, known)| *known == instance);
                if is_of_type && !is_known && siblings < MOST_INSTANCES && self.instances.len() < MOST_KEPT {
                    self.instances.push((owner, instance));
                }
            }
            RecordData::Srv { host, port } => keep_first(&mut self.services, owner, (host, port)),
            RecordData::Txt(pairs) => {
                self.find_device_info(&owner);
                keep_first(&mut self.texts, owner, pairs);
            }
            RecordData::A(address) => {
                if self.addresses.len() < MOST_KEPT && !self.addresses.contains(&(owner.clone(), address)) {
                    self.addresses.push((owner, address));
                }
            }
        }
    }

    /// Takes the text of a [`DEVICE_INFO`] for its instance: no PTR record leads to Apple's.
    fn find_device_info(&mut self, owner: &DnsName) {
        let Some(device_info) = name_of_type(DEVICE_INFO) else { return };
        let is_first = !self.instances.iter().any(|(service_type, _)| *service_type == device_info);
        if is_first
            && self.instances.len() < MOST_KEPT
            && owner.labels().skip(1).eq_ignoring_case(&device_info)
        {
            self.instances.push((device_info, owner.clone()));
        }
    }

    /// Returns the listed types, the most telling first, at most [`MOST_TYPES`].
    fn listed(&self) -> VecDeque<DnsName> {
        let mut listed = self.types.clone();
        listed.sort_by_cached_key(|name| type_of(name).map(|kind| rank(&kind)));
        listed.truncate(MOST_TYPES);
        listed.into()
    }
}

impl RecordData {
    fn kind(&self) -> RecordKind {
        match self {
            Self::A(_) => RecordKind::A,
            Self::Ptr(_) => RecordKind::Ptr,
            Self::Txt(_) => RecordKind::Txt,
            Self::Srv { .. } => RecordKind::Srv,
        }
    }
}

/// Compares labels with those of a name.
trait EqLabels {
    fn eq_ignoring_case(self, name: &DnsName) -> bool;
}

impl<'a, I: Iterator<Item = &'a [u8]>> EqLabels for I {
    fn eq_ignoring_case(self, name: &DnsName) -> bool {
        DnsName::of(self).is_some_and(|own| own == *name)
    }
}

fn keep_first<T>(kept: &mut Vec<(DnsName, T)>, name: DnsName, value: T) {
    if kept.len() < MOST_KEPT && find(kept, &name).is_none() {
        kept.push((name, value));
    }
}

fn find<'a, T>(kept: &'a [(DnsName, T)], name: &DnsName) -> Option<&'a T> {
    kept.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn instances_of(name: DnsName) -> DnsQuestion {
    DnsQuestion { name, kind: RecordKind::Ptr }
}

/// `_http._tcp` as `_http._tcp.local`.
fn name_of_type(service_type: &str) -> Option<DnsName> {
    DnsName::of(service_type.split('.').chain(["local"]).map(str::as_bytes))
}

/// The place of a type among the [`TELLING`] ones, or after them.
fn rank(service_type: &str) -> usize {
    TELLING.iter().position(|telling| *telling == service_type).unwrap_or(TELLING.len())
}

fn is_type(name: &DnsName, service_type: &str) -> bool {
    name_of_type(service_type).is_some_and(|own| own == *name)
}

/// `_http._tcp.local` as `_http._tcp`, in lower case; `None` if it is no service type: an underscore and 1 to 15
/// letters, digits and hyphens (RFC 6335, 5.1), then `_tcp` or `_udp`. Some vendors' names are longer than that.
fn type_of(name: &DnsName) -> Option<String> {
    let name = name.joined()?.to_ascii_lowercase();
    let service_type = name.strip_suffix(".local")?;
    let (service, protocol) = service_type.split_once('.')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_service =
        service.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain));
    (is_service && ["_tcp", "_udp"].contains(&protocol)).then(|| service_type.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
    const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 6);

    fn name(text: &str) -> DnsName {
        DnsName::of(text.split('.').map(str::as_bytes)).unwrap()
    }

    fn record(owner: &str, data: RecordData) -> DnsRecord {
        DnsRecord { owner: name(owner), data }
    }

    fn ptr(owner: &str, target: &str) -> DnsRecord {
        record(owner, RecordData::Ptr(name(target)))
    }

    fn srv(owner: &str, host: &str, port: u16) -> DnsRecord {
        record(owner, RecordData::Srv { host: name(host), port })
    }

    fn txt(owner: &str, pairs: &[(&str, &str)]) -> DnsRecord {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        record(owner, RecordData::Txt(pairs))
    }

    fn listing(service_type: &str) -> DnsRecord {
        ptr("_services._dns-sd._udp.local", service_type)
    }

    /// Has the conversation with a device that has these records. It answers with those that are asked for, and, if it
    /// is generous, with all others too. Returns the messages that were sent, each as `name kind` of its questions.
    fn converse(
        conversation: &mut Conversation,
        records: &[DnsRecord],
        is_generous: bool,
    ) -> Vec<Vec<String>> {
        let mut sent = Vec::new();
        while let Some(Step { questions }) = conversation.next() {
            let is_asked_for = |record: &DnsRecord| {
                questions.iter().any(|q| q.name == record.owner && q.kind == record.data.kind())
            };
            let mut records: Vec<_> = records.to_vec();
            let has_answer = records.iter().any(is_asked_for);
            records.retain(|record| is_generous || is_asked_for(record));
            if has_answer {
                let answers = conversation.take(DnsAnswer { questions: questions.clone(), records });
                assert!(answers, "{questions:?}");
            }
            let line = |q: &DnsQuestion| format!("{} {:?}", q.name.joined().unwrap(), q.kind);
            sent.push(questions.iter().map(line).collect());
        }
        sent
    }

    fn cast() -> Vec<DnsRecord> {
        vec![
            listing("_googlecast._tcp.local"),
            ptr("_googlecast._tcp.local", "Living-Room._googlecast._tcp.local"),
            srv("Living-Room._googlecast._tcp.local", "cast.local", 8009),
            txt("Living-Room._googlecast._tcp.local", &[("md", "Chromecast")]),
            record("cast.local", RecordData::A(NEIGHBOUR)),
        ]
    }

    fn cast_announced() -> Announced {
        let service = AnnouncedService {
            service_type: "_googlecast._tcp".to_owned(),
            protocol: Protocol::Tcp,
            port: 8009,
            txt: vec![("md".to_owned(), "Chromecast".to_owned())],
        };
        Announced { services: vec![service], device_info: Vec::new() }
    }

    #[test]
    fn a_generous_device_is_asked_twice_and_a_sparing_one_for_the_rest() {
        let mut generous = Conversation::new(NEIGHBOUR);
        assert_eq!(converse(&mut generous, &cast(), true), [["_services._dns-sd._udp.local Ptr"]]);
        assert_eq!(generous.announced(), Some(cast_announced()));
        let mut sparing = Conversation::new(NEIGHBOUR);
        let sent = converse(&mut sparing, &cast(), false);
        let expected: [&[&str]; 4] = [
            &["_services._dns-sd._udp.local Ptr"],
            &["_googlecast._tcp.local Ptr"],
            &["Living-Room._googlecast._tcp.local Srv", "Living-Room._googlecast._tcp.local Txt"],
            &["cast.local A"],
        ];
        assert_eq!(sent, expected);
        assert_eq!(sparing.announced(), Some(cast_announced()));
    }

    #[test]
    fn a_device_that_lists_no_types_is_asked_for_the_telling_ones_in_one_frame() {
        let mut conversation = Conversation::new(NEIGHBOUR);
        let sent = converse(&mut conversation, &cast()[1..], false);
        assert_eq!((sent.len(), sent[1].len()), (4, TELLING.len()));
        assert_eq!(conversation.announced(), Some(cast_announced()));
        let questions: Vec<_> = TELLING.into_iter().filter_map(name_of_type).map(instances_of).collect();
        assert_eq!(questions.len(), TELLING.len());
        let length = crate::net::dns_message::query([0; 2], &questions).len();
        assert!(length <= 1472, "{length} octets do not fit into a frame of Ethernet's");
        let mut silent = Conversation::new(NEIGHBOUR);
        assert_eq!(converse(&mut silent, &[], false).len(), 2);
        assert_eq!(silent.announced(), None);
    }

    #[test]
    fn a_service_on_another_host_is_not_the_neighbours() {
        for strangers in [&[STRANGER][..], &[]] {
            let mut conversation = Conversation::new(NEIGHBOUR);
            let mut records = cast();
            records.pop();
            records.extend(strangers.iter().map(|address| record("cast.local", RecordData::A(*address))));
            converse(&mut conversation, &records, false);
            assert_eq!(conversation.announced(), None, "{strangers:?}");
        }
        // A host with several addresses.
        let mut conversation = Conversation::new(NEIGHBOUR);
        let records: Vec<_> = [vec![record("cast.local", RecordData::A(STRANGER))], cast()].concat();
        converse(&mut conversation, &records, false);
        assert_eq!(conversation.announced(), Some(cast_announced()));
    }

    #[test]
    fn apples_device_info_is_found_listed_or_not() {
        let share = |more: &[DnsRecord]| {
            let mut conversation = Conversation::new(NEIGHBOUR);
            let records = [
                &[
                    listing("_smb._tcp.local"),
                    ptr("_smb._tcp.local", "Mac._smb._tcp.local"),
                    srv("Mac._smb._tcp.local", "mac.local", 445),
                    txt("Mac._smb._tcp.local", &[]),
                    record("mac.local", RecordData::A(NEIGHBOUR)),
                    txt("Mac._device-info._tcp.local", &[("model", "Mac15,12")]),
                ],
                more,
            ]
            .concat();
            let sent = converse(&mut conversation, &records, false);
            let announced = conversation.announced().unwrap();
            assert_eq!(announced.device_info, [("model".to_owned(), "Mac15,12".to_owned())]);
            assert_eq!(announced.services.len(), 1, "it is no service");
            sent.len()
        };
        assert_eq!(share(&[]), 5);
        let listed = [
            listing("_device-info._tcp.local"),
            ptr("_device-info._tcp.local", "Mac._device-info._tcp.local"),
        ];
        assert_eq!(share(&listed), 6);
    }

    #[test]
    fn ports_of_0_and_instances_of_other_types_are_dropped() {
        let mut conversation = Conversation::new(NEIGHBOUR);
        let mut records = cast();
        records[2] = srv("Living-Room._googlecast._tcp.local", "cast.local", 0);
        converse(&mut conversation, &records, false);
        assert_eq!(conversation.announced(), None);
        let mut conversation = Conversation::new(NEIGHBOUR);
        records = cast();
        records[0] = listing("_http._tcp.local");
        records[1] = ptr("_http._tcp.local", "Living-Room._googlecast._tcp.local");
        converse(&mut conversation, &records, true);
        assert_eq!(conversation.announced(), None);
    }

    #[test]
    fn only_service_types_are_taken() {
        assert_eq!(type_of(&name("_HTTP._tcp.LOCAL")).as_deref(), Some("_http._tcp"));
        for text in [
            "http._tcp.local",
            "_http._sctp.local",
            "_http._tcp",
            "_._tcp.local",
            "x._http._tcp.local",
            "_a b._tcp.local",
        ] {
            assert_eq!(type_of(&name(text)), None, "{text}");
        }
    }

    #[test]
    fn a_million_services_are_few_questions_and_little_memory() {
        let mut conversation = Conversation::new(NEIGHBOUR);
        let types: Vec<String> = (0..200).map(|number| format!("_t{number}._tcp.local")).collect();
        let mut messages = 0;
        while let Some(Step { questions }) = conversation.next() {
            messages += 1;
            for service_type in &types {
                let instance = |number: usize| format!("i{number}.{service_type}");
                let of_type = (0..25).flat_map(|number| {
                    let instance = instance(number);
                    [
                        ptr(service_type, &instance),
                        srv(&instance, "x.local", 80),
                        txt(&instance, &[("a", "b")]),
                    ]
                });
                let records = of_type.chain([listing(service_type)]).collect();
                conversation.take(DnsAnswer { questions: questions.clone(), records });
            }
        }
        assert!(messages <= MOST_QUESTIONS, "{messages}");
        let heard = &conversation.heard;
        let counts = [heard.types.len(), heard.instances.len(), heard.services.len(), heard.texts.len()];
        assert!(counts.iter().all(|count| *count <= MOST_KEPT), "{counts:?}");
    }

    proptest! {
        /// Whatever subset of records a device has, and however it answers: the conversation ends, no question is asked
        /// twice, and what is believed was sent, at the neighbour's address.
        #[test]
        fn every_conversation_ends(
            picks in prop::collection::vec((0..6_usize, 0..3_u8, 0..3_u8, 0..3_u16), 0..40),
            is_generous: bool,
        ) {
            let records: Vec<DnsRecord> = picks.iter().map(|(kind, one, other, port)| {
                let service_type = format!("_t{one}._tcp.local");
                let instance = format!("i{other}.{service_type}");
                match kind {
                    0 => listing(&service_type),
                    1 => ptr(&service_type, &instance),
                    2 => srv(&instance, &format!("h{other}.local"), *port),
                    3 => txt(&instance, &[("k", "v")]),
                    4 => record(&format!("h{other}.local"), RecordData::A(NEIGHBOUR)),
                    _ => record(&format!("h{other}.local"), RecordData::A(STRANGER)),
                }
            }).collect();
            let mut conversation = Conversation::new(NEIGHBOUR);
            let sent = converse(&mut conversation, &records, is_generous);
            let mut times = BTreeMap::new();
            for question in sent.iter().flatten() {
                *times.entry(question).or_insert(0) += 1;
            }
            prop_assert!(times.values().all(|times| *times == 1), "{:?}", sent);
            for service in conversation.announced().into_iter().flat_map(|announced| announced.services) {
                let is_sent = records.iter().any(|record| matches!(&record.data,
                    RecordData::Srv { host, port } if *port == service.port
                        && records.contains(&DnsRecord { owner: host.clone(), data: RecordData::A(NEIGHBOUR) })));
                prop_assert!(is_sent && service.port != 0, "{:?}", service);
            }
        }
    }
}
