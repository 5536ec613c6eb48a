//! A wire between client and server that notes what the server says.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes bytes on until dropped.
pub struct Proxy {
    pub port: u16,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::new(Mutex::new(Vec::new()));
        let note = said.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], server))) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, None));
                let note = note.clone();
                std::thread::spawn(move || pass(server, client, Some(note)));
            }
        });
        Self { port, said }
    }

    /// Forgets what was said so far.
    pub fn forget(&self) {
        self.said.lock().unwrap().clear();
    }

    /// The types of the messages that the server sent since [`Proxy::forget`], one letter each: `C` command complete,
    /// `N` notice, `Z` ready for query, `E` error.
    pub fn said(&self) -> String {
        let bytes = self.said.lock().unwrap().clone();
        let mut types = String::new();
        let mut rest = &bytes[..];
        while let [kind, a, b, c, d, ..] = *rest {
            types.push(kind as char);
            let length = u32::from_be_bytes([a, b, c, d]) as usize + 1;
            rest = rest.get(length..).unwrap_or_default();
        }
        types
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, note: Option<Arc<Mutex<Vec<u8>>>>) {
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if let Some(note) = &note {
            note.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
