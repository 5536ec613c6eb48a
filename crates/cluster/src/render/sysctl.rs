//! Settings of a host's kernel, for `/etc/sysctl.d`.

use super::{HEADER, root};
use crate::files::RenderedFile;

/// What is written and not flushed is sent to the disk steadily. Gathered for half a minute, as the kernel does by itself, it goes out at
/// once, and every flush of a log waits behind it. BBR, which some kernels choose, believes for ten seconds in the round trip of before.
pub fn file() -> RenderedFile {
    let text = format!(
        "# {HEADER}
# Data goes to the disk in small parts all the time, so that no flush of a log waits behind half a minute of it.
vm.dirty_background_bytes = 8388608
vm.dirty_writeback_centisecs = 20
# With BBR, which some kernels choose, writes stand still for up to ten seconds when a line becomes slow.
net.ipv4.tcp_congestion_control = cubic
"
    );
    root("sysctl/shanraq.conf", text)
}
