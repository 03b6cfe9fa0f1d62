//! Every bound of the wire, of memory and of files that more than one crate relies on, each with its reason.
//!
//! A bound that only one module knows stays in that module, as a constant with its reason. Nothing in the product grows
//! without a bound that stands in one of these two places.

use crate::time::Span;

/// Compiled size of one regular expression, bytes. Real rules stay below 100 KiB; a hostile one must not take the memory.
pub const MAX_REGEX_BYTES: usize = 4 << 20;

/// One frame on the uplink, bytes, header included. A live frame has under 2 KiB; a full dictionary part fits.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// A metric's or label's name, bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// A label's value, bytes. Longer ones are no identities but texts.
pub const MAX_LABEL_VALUE_BYTES: usize = 1024;
/// Labels of one series, the metric name included. Prometheus' own limit in hosted offers is 30 to 40.
pub const MAX_LABELS_PER_SERIES: usize = 32;
/// Series of one agent. node_exporter yields 500 to 2,000; ten thousand leaves room for checks and textfile metrics.
pub const MAX_SERIES_PER_AGENT: usize = 10_000;
/// Dictionary entries in one Dict frame, so that a part stays far below [`MAX_FRAME_BYTES`].
pub const MAX_DICT_ENTRIES_PER_FRAME: usize = 512;
/// Frames that an agent may have sent and not yet seen acknowledged, per lane. More waits in the spool.
pub const MAX_UNACKED_FRAMES: usize = 64;
/// A frame without a keyframe before it can be decoded by nobody; one per this many frames bounds what a loss costs.
pub const KEYFRAME_EVERY: u64 = 60;

/// A datagram of gossip, bytes. 1400 is memberlist's value: it fits every common MTU with tunnels around it.
pub const MAX_DATAGRAM_BYTES: usize = 1400;
/// Members that one node keeps, the dead included. SWIM views of this size still fit 10 MiB.
pub const MAX_MEMBERS: usize = 20_000;
/// A node's name, bytes: the longest DNS name.
pub const MAX_NODE_NAME_BYTES: usize = 253;
/// Labels of a node. Cloud providers allow about fifty tags.
pub const MAX_NODE_LABELS: usize = 64;
/// A node's metadata once encoded, bytes. What does not fit a datagram is fetched over a stream, so it may be larger than
/// one; every node keeps everybody's, so it may not be much larger.
pub const MAX_METADATA_BYTES: usize = 4096;
/// What travels with metadata at most, bytes: eight key ids, a line of trouble, and room for what later versions add.
pub const MAX_ANNOUNCED_BYTES: usize = MAX_METADATA_BYTES + 512;
/// A reason that a node tells the others in its metadata, bytes: one line.
pub const MAX_TROUBLE_BYTES: usize = 160;
/// One frame of a gossip stream, bytes, envelope included: a thousand members, or sixteen of the largest metadata.
pub const MAX_GOSSIP_FRAME_BYTES: usize = 64 << 10;
/// What one side says in one exchange over a gossip stream, bytes. All members that a node keeps fit in, with metadata of
/// usual size; metadata beyond that is fetched afterwards.
pub const MAX_GOSSIP_EXCHANGE_BYTES: usize = 8 << 20;
/// Frames that one side says in one exchange: four times what those bytes take in full frames.
pub const MAX_GOSSIP_EXCHANGE_FRAMES: usize = 4 * MAX_GOSSIP_EXCHANGE_BYTES / MAX_GOSSIP_FRAME_BYTES;

/// Events kept in memory for readers that come back (`/v1/events`); at ten changes a second, a minute and a half.
pub const MAX_EVENTS_KEPT: usize = 1024;
/// The same events, bytes. A change of a member with usual labels has some 700; the agent is not to grow by megabytes.
pub const MAX_EVENT_BYTES_KEPT: usize = 1 << 20;
/// Readers of events that stay, at a time. Each costs a connection, of which a server has 512.
pub const MAX_EVENT_STREAMS: usize = 128;

/// A configuration or rule file, bytes. The largest public rule sets are under 2 MiB.
pub const MAX_CONFIG_FILE_BYTES: usize = 8 << 20;
/// Nesting of a configuration document. Deeper ones are mistakes or attacks on the stack.
pub const MAX_DOCUMENT_DEPTH: usize = 64;
/// Nodes of a configuration document once its aliases are expanded ("billion laughs").
pub const MAX_DOCUMENT_NODES: usize = 1 << 20;

/// A PromQL expression, bytes: dashboards name thousands of hosts in one matcher.
pub const MAX_QUERY_BYTES: usize = 1 << 20;
/// Nesting of a PromQL expression; real ones stay under 20.
pub const MAX_QUERY_DEPTH: usize = 200;

/// An order, bytes. Twenty parameters of the largest size fit.
pub const MAX_ORDER_BYTES: usize = 32 << 10;
/// How long an order may be valid. It is to be done now or not at all: what led to it may be over a minute later.
pub const MAX_ORDER_LIFE: Span = Span::from_seconds(60);
/// What is kept of an action's output, bytes: the end, which says how it ended.
pub const MAX_ACTION_OUTPUT_BYTES: usize = 64 << 10;
/// Actions that one agent offers. All of them go into one frame, and nobody oversees more.
pub const MAX_ACTIONS: usize = 256;

/// Notes of its own life that an agent keeps: a month of being cut off four times a day. At some 100 bytes each, all of
/// them fit one frame.
pub const MAX_LIFE_NOTES: usize = 256;
/// The reason of such a note, characters: one line.
pub const MAX_LIFE_REASON_CHARS: usize = 200;

/// Body of an HTTP request, bytes.
pub const MAX_HTTP_BODY_BYTES: usize = 4 << 20;
/// How long a blocking HTTP query may wait.
pub const MAX_BLOCKING_WAIT: Span = Span::from_seconds(60);
