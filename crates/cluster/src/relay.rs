//! A bad line: what a host sends to another goes through this process, which loses some packets and holds up the others.
//!
//! Linux can do it alone (`tc netem`), but kernels are built without that part. A tunnel device and a route to the one
//! address lead packets here, and a raw socket leads them out again. Device and route end with the process, so the line
//! is good again whatever ends it. Packets keep their order, as on a line; one that is late holds up those behind it.

use crate::links::run;
use crate::{ClusterError, Impairment};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Of a veth; larger ones would be refused on the way out.
const PACKET_BYTES: u16 = 1500;
/// A line holds so many packets at most, and loses those beyond: as many as netem's. More would hold everybody up for seconds behind
/// one who copies files.
const PACKETS_MAX: usize = 1_000;

type Held = (Instant, Vec<u8>);

/// Runs in the sender's network namespace, until it is ended. The route is there once the device has an address.
///
/// # Errors
/// The kernel refuses the device, the route or the socket, or an end of them breaks.
pub fn relay(device: &str, interface: &str, to: Ipv4Addr, bad: &Impairment) -> Result<(), ClusterError> {
    let failed = |action, error| ClusterError::io(action, Path::new(device), error);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))
        .map_err(|e| failed("open a raw socket for", e))?;
    socket
        .bind_device(Some(interface.as_bytes()))
        .map_err(|e| failed("bind a raw socket for", e))?;
    let tunnel = DeviceBuilder::new()
        .name(device)
        .build_sync()
        .map_err(|e| failed("make the device", e))?;
    let mtu = PACKET_BYTES.to_string();
    run("ip", &["link", "set", device, "mtu", &mtu, "up"])?;
    // Without a source, packets would carry no address of the host's.
    let source = source_of(interface)?;
    let route = [
        "route",
        "replace",
        &format!("{to}/32"),
        "dev",
        device,
        "src",
        &source,
    ];
    run("ip", &route)?;
    let (sender, receiver) = sync_channel(PACKETS_MAX);
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || send(&socket, to, receiver));
        let read = read(&tunnel, bad, &sender);
        drop(sender);
        let sent = sending.join().expect("sending does not panic");
        read.map_err(|e| failed("read from", e))?;
        sent.map_err(|e| failed("send what came from", e))
    })
}

fn source_of(interface: &str) -> Result<String, ClusterError> {
    let text = run("ip", &["-4", "-o", "address", "show", "dev", interface])?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).and_then(|word| word.split('/').next());
    address.map(str::to_owned).ok_or_else(|| {
        let text = format!("{interface} has no address");
        ClusterError::Refused(text)
    })
}

fn read(tunnel: &SyncDevice, bad: &Impairment, sender: &SyncSender<Held>) -> std::io::Result<()> {
    let mut chance = Chance(RandomState::new().hash_one(0));
    let mut last = Instant::now();
    let mut packet = vec![0; usize::from(PACKET_BYTES)];
    loop {
        let length = tunnel.recv(&mut packet)?;
        // The kernel greets a new device by IPv6, which is for nobody.
        let is_ipv4 = packet[..length].first().is_some_and(|byte| byte >> 4 == 4);
        if !is_ipv4 {
            continue;
        }
        if chance.next_below(1_000_000) < u64::from(bad.loss_ppm) {
            continue;
        }
        let jitter = chance.next_below(2 * u64::from(bad.jitter_us) + 1);
        let late = u64::from(bad.delay_us) + jitter;
        let wait = Duration::from_micros(late.saturating_sub(u64::from(bad.jitter_us)));
        last = last.max(Instant::now() + wait);
        match sender.try_send((last, packet[..length].to_vec())) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
    }
}

fn send(socket: &Socket, to: Ipv4Addr, receiver: Receiver<Held>) -> std::io::Result<()> {
    let to = SockAddr::from(SocketAddrV4::new(to, 0));
    for (at, packet) in receiver {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        match socket.send_to(&packet, &to) {
            Ok(_) => {}
            // A cut on top of a bad line loses the packet; the line goes on.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Random enough for a line: xorshift, after Marsaglia.
struct Chance(u64);

impl Chance {
    fn next_below(&mut self, bound: u64) -> u64 {
        self.0 |= u64::from(self.0 == 0);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_as_many_are_lost_as_asked() {
        let mut chance = Chance(7);
        let lost = (0..100_000)
            .filter(|_| chance.next_below(1_000_000) < 10_000)
            .count();
        assert!((800..1_200).contains(&lost), "{lost} of 100,000 at 1 %");
    }
}
