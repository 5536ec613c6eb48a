//! Progress bars of long work, on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use payments::{Progress, Stage};

/// A bar that follows what an import or a statement tells.
pub struct Bar(ProgressBar);

impl Bar {
    /// For a file or an account, by name.
    pub fn new(name: &str) -> Self {
        let template = "{prefix} {msg:<8} {bar:40} {human_pos}/{human_len} {eta}";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        Self(ProgressBar::new(0).with_style(style).with_prefix(name.to_owned()))
    }

    /// Shows how far it is.
    pub fn show(&self, progress: Progress) {
        self.0.set_message(match progress.stage {
            Stage::Reading => "reading",
            Stage::Booking => "booking",
            Stage::Writing => "writing",
        });
        self.0.set_length(progress.total.max(progress.done));
        self.0.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
