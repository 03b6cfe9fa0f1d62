//! What `/v1/status` tells of the store.

use watchfire_shell::http::openapi::{Schema, field};

const DAMAGED: Schema = Schema::Object(&[
    field("file", Schema::Text, ""),
    field(
        "kept_as",
        Schema::Text,
        "Where it is kept for inspection; without it, and after a restart, nothing is said of it any more.",
    ),
    field("reason", Schema::Text, ""),
    field("from", Schema::Nullable(&Schema::Time), "Earliest time of what may be missing; `null` where nobody knows."),
    field("to", Schema::Nullable(&Schema::Time), ""),
    field("lost_samples", Schema::Nullable(&Schema::Integer), "How many are missing, if that is known."),
]);

pub(super) const STORAGE: Schema = Schema::Object(&[
    field("series", Schema::Integer, ""),
    field("full", Schema::Boolean, ""),
    field("behind", Schema::Boolean, "Whether pushes have to wait because more came than goes to blocks in time."),
    field("retention", Schema::Duration, ""),
    field("bytes", Schema::Integer, "Log and blocks."),
    field("max_bytes", Schema::Integer, ""),
    field(
        "dropped_for_size_samples",
        Schema::Integer,
        "Dropped before their time because of `max_bytes`, since the start.",
    ),
    field(
        "damaged",
        Schema::List(&DAMAGED),
        "Damaged files that were set aside; what could not be read of them is missing.",
    ),
]);
