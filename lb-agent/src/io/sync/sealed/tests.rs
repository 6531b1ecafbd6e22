//! Two ends of real connections, with somebody between them.

use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::*;

const KEY: [u8; 32] = [7; 32];
const OTHER_KEY: [u8; 32] = [8; 32];

type Ends<T> = (Result<T, Broken>, Result<T, Broken>);

fn connect() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let opened = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (opened, listener.accept().unwrap().0)
}

fn shake_hands(key: [u8; 32], other_key: [u8; 32]) -> Ends<(Sender, Receiver)> {
    let (opened, accepted) = connect();
    let other = thread::spawn(move || accept(accepted, &other_key));
    (open(opened, &key), other.join().unwrap())
}

fn hello(node: &str) -> Message {
    Message::Hello { run: 1, node: node.to_owned() }
}

#[test]
fn messages_arrive_both_ways_in_their_order() {
    let (opened, accepted) = shake_hands(KEY, KEY);
    let ((mut there, mut back), (mut answers, mut heard)) = (opened.unwrap(), accepted.unwrap());
    for n in 0..100 {
        there.send(&hello(&n.to_string())).unwrap();
        answers.send(&Message::Seen { number: n }).unwrap();
    }
    for n in 0..100 {
        assert_eq!(heard.receive().unwrap().0, hello(&n.to_string()));
        assert_eq!(back.receive().unwrap().0, Message::Seen { number: n });
    }
    there.end();
    assert!(matches!(heard.receive(), Err(Broken::Connection(_))));
}

#[test]
fn another_key_is_noticed_at_both_ends() {
    let (opened, accepted) = shake_hands(KEY, OTHER_KEY);
    assert!(matches!(opened, Err(Broken::Refused)), "{:?}", opened.err());
    assert!(matches!(accepted, Err(Broken::Key)), "{:?}", accepted.err());
}

#[test]
fn another_version_or_another_program_is_told_apart() {
    for (first, is_version) in [(&b"Sluice\0\x09"[..], true), (b"GET / HTTP/1.1\r\n", false)] {
        let (mut opened, accepted) = connect();
        opened.write_all(first).unwrap();
        match accept(accepted, &KEY) {
            Err(Broken::Version(9)) => assert!(is_version),
            Err(Broken::Stranger) => assert!(!is_version),
            other => panic!("{:?}", other.err()),
        }
    }
}

/// What an end that opened a connection has sent until it had said its first message, and the other end.
fn recorded() -> (Vec<u8>, Vec<u8>) {
    let (mut opened, client) = connect();
    let (server, mut accepted) = connect();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let mut all = Vec::new();
            let mut part = [0; 4_096];
            while let Ok(n @ 1..) = from.read(&mut part) {
                all.extend_from_slice(&part[..n]);
                to.write_all(&part[..n]).unwrap();
            }
            to.shutdown(Shutdown::Write).ok();
            all
        })
    };
    std::mem::swap(&mut opened, &mut accepted);
    let there = copy(client.try_clone().unwrap(), server.try_clone().unwrap());
    let back = copy(server, client);
    let listening = thread::spawn(move || accept(opened, &KEY));
    let (mut sender, _receiver) = open(accepted, &KEY).unwrap();
    let (answers, mut heard) = listening.join().unwrap().unwrap();
    sender.send(&hello("lb1")).unwrap();
    assert_eq!(heard.receive().unwrap().0, hello("lb1"));
    sender.end();
    answers.end();
    (there.join().unwrap(), back.join().unwrap())
}

#[test]
fn what_was_recorded_is_good_for_no_other_connection() {
    let (said, _) = recorded();
    let (mut opened, accepted) = connect();
    opened.write_all(&said).unwrap();
    // The first words need the key alone; what follows needs the fresh keys too.
    let (_, mut heard) = accept(accepted, &KEY).unwrap();
    assert!(matches!(heard.receive(), Err(Broken::Key)));
}

#[test]
fn what_was_recorded_of_the_other_end_is_none_either() {
    let (_, answered) = recorded();
    let (opened, mut accepted) = connect();
    accepted.write_all(&answered).unwrap();
    assert!(matches!(open(opened, &KEY), Err(Broken::Key)));
}

/// Sends frames as they are given, past one end, and says what the other makes of the first ones.
fn after_tampering(tamper: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<Result<Message, Broken>> {
    let (opened, accepted) = connect();
    let mut raw = opened.try_clone().unwrap();
    let other = thread::spawn(move || accept(accepted, &KEY));
    let (sender, _receiver) = open(opened, &KEY).unwrap();
    let (_answers, mut heard) = other.join().unwrap().unwrap();
    let mut frames: Vec<_> = (0..3)
        .map(|number| {
            let mut frame = vec![0; LONGEST];
            let message = hello(&number.to_string()).encode();
            let length = sender.state.write_message(number, &message, &mut frame).unwrap();
            frame.truncate(length);
            frame
        })
        .collect();
    tamper(&mut frames);
    for frame in &frames {
        write_frame(&mut raw, frame).unwrap();
    }
    frames.iter().map(|_| heard.receive().map(|(message, _)| message)).collect()
}

#[test]
fn frames_that_are_changed_repeated_left_out_or_exchanged_are_refused() {
    assert!(after_tampering(|_| ()).into_iter().all(|message| message.is_ok()));
    let tampers: [fn(&mut Vec<Vec<u8>>); 4] = [
        |frames| frames[1][3] ^= 1,
        |frames| frames.insert(1, frames[0].clone()),
        |frames| drop(frames.remove(1)),
        |frames| frames.swap(1, 2),
    ];
    for tamper in tampers {
        let heard = after_tampering(tamper);
        assert!(heard[0].is_ok());
        assert!(matches!(heard[1], Err(Broken::Key)), "{:?}", heard[1]);
    }
}

#[test]
fn a_message_that_is_none_is_told_apart_from_another_key() {
    let (opened, accepted) = shake_hands(KEY, KEY);
    let ((mut there, _back), (_answers, mut heard)) = (opened.unwrap(), accepted.unwrap());
    let mut frame = vec![0; LONGEST];
    let length = there.state.write_message(0, &[99], &mut frame).unwrap();
    frame.truncate(length);
    write_frame(&mut there.stream, &frame).unwrap();
    assert!(matches!(heard.receive(), Err(Broken::Message)));
}
