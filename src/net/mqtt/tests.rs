//! Well-behaved brokers, and brokers that send too much, nonsense or nothing.

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{
    frames::Frames,
    incoming::read,
    outgoing::{self, LONGEST},
    *,
};
use crate::config::MqttVersion::{self, V5, V311};

fn options(version: MqttVersion) -> MqttOptions {
    MqttOptions {
        version,
        client_id: "c1".to_owned(),
        user: Some("u".to_owned()),
        password: Some("p".to_owned()),
        will: Some(MqttWill { topic: "w".to_owned(), payload: "x".to_owned() }),
    }
}

/// Sends this in answer to the first packet, and then nothing; keeps the connection open.
async fn answered_by(
    version: MqttVersion,
    answer: &[u8],
) -> (Result<MqttSession<DuplexStream>, MqttError>, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 22);
    theirs.write_all(answer).await.unwrap();
    (MqttSession::open(ours, &options(version)).await, theirs)
}

const WELCOME_5: &[u8] = &[0x20, 3, 0, 0, 0];
const WELCOME_311: &[u8] = &[0x20, 2, 0, 0];

#[test]
fn a_connect_packet_is_as_the_standards_say() {
    assert_eq!(
        outgoing::connect(&options(V311), 60),
        b"\x10\x1a\x00\x04MQTT\x04\xee\x00\x3c\x00\x02c1\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
    );
    let five = outgoing::connect(&options(V5), 60);
    assert_eq!(
        five,
        b"\x10\x21\x00\x04MQTT\x05\xee\x00\x3c\x05\x27\x00\x00\x40\x00\x00\x02c1\x00\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
    );
}

#[test]
fn long_lengths_have_more_digits() {
    let packet = outgoing::publish(V311, 7, "t", &[b'x'; 200], true);
    assert_eq!(packet[..8], [0x33, 0xcd, 0x01, 0, 1, b't', 0, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_at_its_acknowledgement() {
    for (version, welcome) in [(V5, WELCOME_5), (V311, WELCOME_311)] {
        let (session, mut broker) = answered_by(version, welcome).await;
        let mut session = session.unwrap();
        broker.write_all(b"\x40\x02\x00\x01").await.unwrap();
        assert_eq!(session.publish("t", b"m", false).await, Ok(()));
        // Of an earlier message.
        broker.write_all(b"\x40\x02\x00\x01").await.unwrap();
        let error = session.publish("t", b"m", false).await.unwrap_err();
        assert!(matches!(error, MqttError::Malformed(_)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_say_whether_the_message_or_the_account_is_at_fault() {
    for (code, is_about_message) in [(0x87, false), (0x90, true), (0x97, false), (0x99, true), (0x80, false)]
    {
        let (session, mut broker) = answered_by(V5, WELCOME_5).await;
        broker.write_all(&[0x40, 3, 0, 1, code]).await.unwrap();
        let error = session.unwrap().publish("t", b"m", false).await.unwrap_err();
        assert_eq!(error.judges_the_message(), is_about_message, "{error}");
    }
    let (session, _broker) = answered_by(V5, b"\x20\x08\x00\x00\x05\x27\x00\x00\x00\x0a").await;
    let error = session.unwrap().publish("topic", b"message", false).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the broker does not take the message: it has 19 bytes, and the broker takes 10"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_know_the_version_is_told_from_one_that_does_not_know_the_user() {
    // In the format of 3.1.1, and in that of 5.
    for answer in [&b"\x20\x02\x00\x01"[..], b"\x20\x03\x00\x84\x00"] {
        let (session, _broker) = answered_by(V5, answer).await;
        assert_eq!(session.err(), Some(MqttError::WrongVersion("5")));
    }
    let (session, _broker) = answered_by(V311, b"\x20\x02\x00\x04").await;
    assert!(session.err().unwrap().to_string().contains("bad user name or password"));
    let (session, _broker) = answered_by(V5, b"\x20\x05\x00\x00\x02\x24\x00").await;
    assert!(session.err().unwrap().to_string().contains("no QoS 1"));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session() {
    let (session, broker) = answered_by(V5, b"").await;
    assert!(matches!(session.err(), Some(MqttError::TimedOut(_))));
    drop(broker);
    let (session, _broker) = answered_by(V5, WELCOME_5).await;
    let error = session.unwrap().receive().await.unwrap_err();
    assert_eq!(error.to_string(), "the broker does not answer a ping");
}

#[tokio::test(start_paused = true)]
async fn pings_keep_an_idle_session() {
    let (session, mut broker) = answered_by(V5, WELCOME_5).await;
    let mut session = session.unwrap();
    let answering = async {
        let mut connect = [0; 35];
        broker.read_exact(&mut connect).await.unwrap();
        for _ in 0..5 {
            let mut ping = [0; 2];
            broker.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, outgoing::PING);
            broker.write_all(&[0xd0, 0]).await.unwrap();
        }
        broker.write_all(b"\x30\x07\x00\x03a/b\x00m").await.unwrap();
    };
    let (message, ()) = tokio::join!(session.receive(), answering);
    let message = message.unwrap();
    assert_eq!(
        (message.topic.as_str(), &message.payload[..], message.is_retained),
        ("a/b", &b"m"[..], false)
    );
}

#[tokio::test(start_paused = true)]
async fn nonsense_ends_a_session_with_its_reason() {
    for (nonsense, reason) in [
        (&b"\x20\x03\x00\x00\x00"[..], "answers what it was not asked"),
        (b"\xff\xff\xff\xff\xff", "more than four bytes"),
        (b"\x40\xff\xff\x03", "longer than any"),
        (b"\x48\x02\x00\x01", "flags"),
        (b"\x32\x08\x00\x03a/b\x00\x01\x00m", "higher QoS"),
        (b"\x30\x03\x00\x09a", "ends early"),
        (b"\x30\x04\x00\x01\xff\x00", "not UTF-8"),
        (b"\x00\x00", "type"),
        (b"\xe0\x01\x8b", "shuts down"),
    ] {
        let (session, mut broker) = answered_by(V5, WELCOME_5).await;
        broker.write_all(nonsense).await.unwrap();
        let error = session.unwrap().receive().await.unwrap_err().to_string();
        assert!(error.contains(reason), "{nonsense:?}: {error}");
    }
    let (session, _broker) = answered_by(V5, b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(session.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_flood_ends_a_session_and_a_long_message_is_passed_over() {
    let (session, mut broker) = answered_by(V5, WELCOME_5).await;
    let mut session = session.unwrap();
    let mut long = vec![0x30, 0xff, 0xff, 0x03];
    long.extend(vec![0; 65_535]);
    broker.write_all(&long).await.unwrap();
    broker.write_all(b"\x30\x05\x00\x01a\x00m").await.unwrap();
    assert_eq!(session.receive().await.unwrap().topic, "a");
    assert!(session.frames_len() < LONGEST as usize, "what is passed over is not kept");
    broker.write_all(&b"\x30\x04\x00\x01a\x00".repeat(4000)).await.unwrap();
    let error = loop {
        if let Err(error) = session.receive().await {
            break error;
        }
    };
    assert!(error.to_string().contains("far more than was requested"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), is_5: bool) {
        let mut frames = Frames::default();
        frames.buffer.extend_from_slice(&bytes);
        while let Ok(Some(frame)) = frames.next() {
            _ = read(if is_5 { V5 } else { V311 }, frame);
        }
    }

    #[test]
    fn no_packet_is_a_panic(first: u8, body in prop::collection::vec(any::<u8>(), 0..60), is_5: bool) {
        let frame = super::frames::Frame { first, body: Bytes::from(body) };
        _ = read(if is_5 { V5 } else { V311 }, frame);
    }

    #[test]
    fn packets_are_split_alike_however_they_arrive(cut in 0..60_usize) {
        let mut all = WELCOME_5.to_vec();
        all.extend(b"\x30\x07\x00\x03a/b\x00m\x40\x02\x00\x01\xd0\x00\x30\x07\x00\x03a/b\x00m");
        let cut = cut.min(all.len());
        let mut frames = Frames::default();
        let mut count = 0;
        for piece in [&all[..cut], &all[cut..]] {
            frames.buffer.extend_from_slice(piece);
            while frames.next().unwrap().is_some() {
                count += 1;
            }
        }
        prop_assert_eq!(count, 5);
    }
}
