//! A connection between two directors that only they can read, write and begin.
//!
//! Both say their version in the clear, and then go by the Noise protocol (`NNpsk0`, revision 34): fresh keys of
//! both sides and the shared one make those of the connection, and each frame has the next number. So nothing
//! that was recorded is good for another connection, nor again in the same one. Whoever listens believes in the
//! other's key only when the first frame has come, which takes fresh keys too.
//!
//! It is TCP below: order, loss and the pace of a slow peer are the kernel's business, which has better means
//! for them than we would build, and a bulk transfer is the same as all else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use snow::{Builder, HandshakeState, StatelessTransportState};

use crate::io::datapath::DatapathError;
use crate::model::sync::{Message, VERSION};

/// Time for each step of the handshake, and for a peer to take what is written.
const STEP: Duration = Duration::from_secs(2);
/// Longest silence: the other side marks or answers ten times a second.
const SILENCE: Duration = Duration::from_secs(3);

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// What both sides say first, before their version.
const MAGIC: &[u8; 6] = b"Sluice";
/// Longest frame of the Noise protocol.
const LONGEST: usize = 65_535;

/// Why two directors do not talk to each other.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection.
    #[error("the connection failed: {0}")]
    Connection(#[source] io::Error),
    /// It says nothing for too long.
    #[error("it does not answer")]
    Silent,
    /// It is another program.
    #[error("it does not speak this protocol")]
    Stranger,
    /// Another version of this one.
    #[error("it speaks version {0} of the protocol, and this director {VERSION}")]
    Version(u16),
    /// Whoever listens could not read our first words.
    #[error("it ended the handshake: its key may be another one")]
    Refused,
    /// What came was sealed with another key, or replayed, or forged.
    #[error("its messages do not go by our key")]
    Key,
    /// The flow table.
    #[error("the flow table cannot be read: {0}")]
    Table(#[from] DatapathError),
    /// A message that is none.
    #[error("it sends what cannot be understood")]
    Message,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if is_late { Self::Silent } else { Self::Connection(error) }
    }
}

impl From<snow::Error> for Broken {
    fn from(_: snow::Error) -> Self {
        Self::Key
    }
}

/// The half that writes.
pub(super) struct Sender {
    stream: TcpStream,
    state: Arc<StatelessTransportState>,
    number: u64,
    frame: Vec<u8>,
}

/// The half that reads.
pub(super) struct Receiver {
    stream: TcpStream,
    state: Arc<StatelessTransportState>,
    number: u64,
    frame: Vec<u8>,
    plain: Vec<u8>,
}

/// The side that has opened the connection.
pub(super) fn open(mut stream: TcpStream, key: &[u8; 32]) -> Result<(Sender, Receiver), Broken> {
    prepare(&stream)?;
    let prologue = agree(&mut stream)?;
    let mut handshake = builder(key, &prologue)?.build_initiator()?;
    write(&mut stream, &mut handshake)?;
    match read(&mut stream, &mut handshake) {
        Err(Broken::Connection(_)) => return Err(Broken::Refused),
        done => done?,
    }
    halves(stream, handshake)
}

/// The side that listens.
pub(super) fn accept(mut stream: TcpStream, key: &[u8; 32]) -> Result<(Sender, Receiver), Broken> {
    prepare(&stream)?;
    let prologue = agree(&mut stream)?;
    let mut handshake = builder(key, &prologue)?.build_responder()?;
    read(&mut stream, &mut handshake)?;
    write(&mut stream, &mut handshake)?;
    halves(stream, handshake)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))
}

/// Says our version, and hears the other's: the handshake fails where somebody has changed them on the way.
fn agree(stream: &mut TcpStream) -> Result<Vec<u8>, Broken> {
    let ours = [&MAGIC[..], &VERSION.to_be_bytes()].concat();
    stream.write_all(&ours)?;
    let mut theirs = [0; MAGIC.len() + 2];
    stream.read_exact(&mut theirs)?;
    let version = theirs.strip_prefix(MAGIC).and_then(|version| version.try_into().ok());
    match version.map(u16::from_be_bytes) {
        Some(VERSION) => Ok(ours),
        Some(version) => Err(Broken::Version(version)),
        None => Err(Broken::Stranger),
    }
}

fn builder<'k>(key: &'k [u8; 32], prologue: &'k [u8]) -> Result<Builder<'k>, Broken> {
    Ok(Builder::new(PATTERN.parse()?).prologue(prologue)?.psk(0, key)?)
}

fn write(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<(), Broken> {
    let mut frame = vec![0; LONGEST];
    let length = handshake.write_message(&[], &mut frame)?;
    frame.truncate(length);
    Ok(write_frame(stream, &frame)?)
}

fn read(stream: &mut TcpStream, handshake: &mut HandshakeState) -> Result<(), Broken> {
    let mut frame = Vec::new();
    read_frame(stream, &mut frame)?;
    handshake.read_message(&frame, &mut vec![0; LONGEST])?;
    Ok(())
}

fn halves(stream: TcpStream, handshake: HandshakeState) -> Result<(Sender, Receiver), Broken> {
    stream.set_read_timeout(Some(SILENCE))?;
    let state = Arc::new(handshake.into_stateless_transport_mode()?);
    let sender = Sender {
        stream: stream.try_clone()?,
        state: Arc::clone(&state),
        number: 0,
        frame: vec![0; LONGEST],
    };
    let plain = vec![0; LONGEST];
    Ok((sender, Receiver { stream, state, number: 0, frame: Vec::new(), plain }))
}

fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u16::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // In one write, or the length would leave as a packet of its own.
    stream.write_all(&[&length.to_be_bytes()[..], frame].concat())
}

fn read_frame(stream: &mut TcpStream, frame: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    frame.resize(u16::from_be_bytes(length).into(), 0);
    stream.read_exact(frame)
}

impl Sender {
    /// Sends a message; says how many bytes that took. Waits while the peer does not read, but not for ever.
    pub(super) fn send(&mut self, message: &Message) -> Result<usize, Broken> {
        let length = self.state.write_message(self.number, &message.encode(), &mut self.frame)?;
        self.number += 1;
        write_frame(&mut self.stream, self.frame.get(..length).unwrap_or_default())?;
        Ok(length)
    }

    /// Ends the connection, for the other half too.
    pub(super) fn end(&self) {
        // It has ended already where that fails.
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

impl Receiver {
    /// The next message, and how many bytes it took.
    pub(super) fn receive(&mut self) -> Result<(Message, usize), Broken> {
        read_frame(&mut self.stream, &mut self.frame)?;
        let length = self.state.read_message(self.number, &self.frame, &mut self.plain)?;
        self.number += 1;
        let message = Message::decode(self.plain.get(..length).unwrap_or_default());
        message.map(|message| (message, self.frame.len())).map_err(|_| Broken::Message)
    }
}

#[cfg(test)]
mod tests;
