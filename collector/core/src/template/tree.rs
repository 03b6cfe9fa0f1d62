//! What a template is once it was read: its tree.

use std::sync::Arc;

use watchfire_shared::document::Position;

/// One template: its nodes and the text that they come from.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) source: Arc<str>,
    pub(super) nodes: Vec<Node>,
}

impl Body {
    /// Whether it would print nothing but space: such a definition does not replace another one.
    pub(super) fn is_blank(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node, Node::Literal(text) if text.trim().is_empty()))
    }

    /// The templates that are called by name, and where.
    pub(super) fn calls(&self) -> Vec<(Position, &str)> {
        let mut calls = Vec::new();
        collect_calls(&self.nodes, &mut calls);
        calls
    }
}

fn collect_calls<'a>(nodes: &'a [Node], calls: &mut Vec<(Position, &'a str)>) {
    for node in nodes {
        match node {
            Node::Template { at, name, .. } => calls.push((*at, name)),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                collect_calls(&branch.then, calls);
                collect_calls(&branch.otherwise, calls);
            }
            Node::Literal(_) | Node::Action(_) | Node::Break | Node::Continue => {}
        }
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Literal(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { at: Position, name: String, data: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) then: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `$a, $b := command | command`.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: Position,
    pub(super) variables: Vec<String>,
    /// Whether the variables are set rather than declared.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) first: Operand,
    pub(super) args: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: Position,
    pub(super) kind: OperandKind,
    /// `.A.B` behind the operand.
    pub(super) fields: Vec<String>,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Arc<str>),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}
