//! One question to the kernel and its whole answer, over a blocking socket: for those who are not asynchronous, since
//! the answer is there at once.
#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's enums grow")]

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Asks in the network namespace of this thread; `flags` are those of the request beside `NLM_F_REQUEST`.
pub(super) fn ask(
    question: RouteNetlinkMessage,
    flags: u16,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = NetlinkMessage::from(question);
    // A dump ends with a message of its own, all else with an acknowledgement.
    let ends = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
    request.header.flags = NLM_F_REQUEST | flags | ends;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if read_datagram(&datagram, &mut answers)? {
            return Ok(answers);
        }
    }
}

/// Takes the messages of a datagram; true after the last message of the answer.
fn read_datagram(mut datagram: &[u8], answers: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
    while !datagram.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(datagram)
            .map_err(io::Error::other)?;
        let length = usize::try_from(message.header.length).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(true),
            // An acknowledgement is an error without a number.
            NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            _ => {}
        }
        // Messages are aligned to four bytes (NLMSG_ALIGN in linux/netlink.h).
        datagram = datagram.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    Ok(false)
}
