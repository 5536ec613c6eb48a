//! What clients did and heard, and whether the books agree with it (pure). Owns: the checkers and the promises they know.

mod books;
mod checker;
mod clock;
mod projected;
mod reads;
mod record;
mod states;
mod violation;

pub use checker::{Observed, ObservedRow, check};
pub use clock::{AHEAD_MAX, check_clock};
pub use projected::{POSITION_QUESTION, Projected, check_projected, question as projection_question};
pub use reads::check_reads;
pub use record::{Call, Consistency, Heard, Moment, Read, burns_id, metadata_of};
pub use states::{NamedState, Seal, check_states};
pub use violation::Violation;
