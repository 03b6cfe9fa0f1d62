//! Rows of the benchmark's table.

/// One measured figure, and the peer's in the same run.
pub struct Row {
    pub what: String,
    pub ours: String,
    pub peer: Option<Peer>,
}

/// What a peer needed for the same.
pub struct Peer {
    pub name: String,
    pub figure: String,
    /// Theirs divided by ours; above 1 we are better. Not a number where there is more than one figure.
    pub ratio: f64,
}

impl Row {
    /// Prints what stands above the rows, in Markdown.
    pub fn print_heading() {
        println!("| what | Watchfire | peer | peer / Watchfire |");
        println!("|---|---|---|---|");
    }

    /// Prints the row at once, for a run takes minutes.
    pub fn print(&self) {
        let (peer, ratio) = match &self.peer {
            Some(peer) => {
                let ratio = if peer.ratio.is_nan() { "-".to_owned() } else { format!("{:.1}", peer.ratio) };
                (format!("{}: {}", peer.name, peer.figure), ratio)
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!("| {} | {} | {peer} | {ratio} |", self.what, self.ours);
    }
}
